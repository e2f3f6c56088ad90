from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.components.heads import EmbeddingHead, RowNorm


def rows(count: int = 12, width: int = 5) -> torch.Tensor:
    return 3 * torch.randn(count, width, generator=torch.Generator().manual_seed(2)) + 1


def trained_pair() -> tuple[RowNorm, nn.BatchNorm1d]:
    """The same parameters in both."""
    mine, theirs = RowNorm(5).train(), nn.BatchNorm1d(5).train()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for one, other in ((mine.weight, theirs.weight), (mine.bias, theirs.bias)):
            one.copy_(torch.randn(5, generator=generator))
            other.copy_(one)
    return mine, theirs


def test_normalization_of_the_counted_rows_is_that_of_batch_norm_on_them_alone() -> None:
    mine, theirs = trained_pair()
    counted = torch.arange(12) % 3 != 1
    first, second = rows().requires_grad_(), rows().requires_grad_()
    for _ in range(2):
        found, expected = mine(first, counted)[counted], theirs(second[counted])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.running_mean, theirs.running_mean)
    torch.testing.assert_close(mine.running_var, theirs.running_var)
    weight = torch.randn(found.shape)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    assert first.grad[~counted].abs().sum() == 0


def test_without_counted_rows_the_running_statistics_are_used_and_kept_in_training_mode() -> None:
    mine, theirs = trained_pair()
    counted = torch.ones(12, dtype=torch.bool)
    mine(rows(), counted)
    theirs(rows())
    before = [buffer.clone() for buffer in mine.buffers()]
    found = mine(rows() + 7, None)
    assert mine.training
    assert all(torch.equal(a, b) for a, b in zip(before, mine.buffers(), strict=True))
    torch.testing.assert_close(found, theirs.eval()(rows() + 7), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.eval()(rows() + 7, counted), found)


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_rows_leave_statistics_and_gradients_finite(number: int) -> None:
    norm = RowNorm(5).train()
    given = rows().requires_grad_()
    result = norm(given, torch.arange(12) < number)
    torch.where(torch.arange(12).unsqueeze(1) < number, result, 0.0).sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(given.grad).all()
    assert torch.equal(norm.running_mean, torch.zeros(5))
    assert torch.equal(norm.running_var, torch.ones(5))


@pytest.mark.parametrize(("width", "projection", "prediction"), [(64, 5_376, 8_448), (32, 1_664, 2_176)])
def test_heads_have_the_published_numbers_of_parameters(width: int, projection: int, prediction: int) -> None:
    head = EmbeddingHead(16, width)
    assert sum(p.numel() for p in head.projection.parameters()) == projection
    assert sum(p.numel() for p in head.prediction.parameters()) == prediction
    assert EmbeddingHead(16, width, predict=False).prediction is None


def test_head_is_projection_and_prediction_of_plain_layers() -> None:
    torch.manual_seed(0)
    head = EmbeddingHead(5, 4).train()
    layers = []
    for part in (head.projection, head.prediction):
        norm = nn.BatchNorm1d(4)
        layers += [part.first, norm, nn.ReLU(), part.second]
    plain = nn.Sequential(*layers).train()
    torch.testing.assert_close(head(rows(), torch.ones(12, dtype=torch.bool)), plain(rows()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.remembered(rows()), plain[:4].eval()(rows()), rtol=1e-4, atol=1e-5)
    assert not head.remembered(rows()).requires_grad


def test_remembering_changes_nothing_and_works_on_any_leading_shape() -> None:
    head = EmbeddingHead(5, 4).train()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    grouped = head.remembered(rows().view(2, 6, 5))
    torch.testing.assert_close(grouped, head.remembered(rows()).view(2, 6, 4))
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_works_in_double_and_under_autocast(dtype: torch.dtype) -> None:
    head, counted = EmbeddingHead(5, 4), torch.ones(12, dtype=torch.bool)
    head = head.double() if dtype == torch.float64 else head
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = head(rows().to(dtype), counted)
    assert result.dtype == dtype
    assert head.projection.norm.running_mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
