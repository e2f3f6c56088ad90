from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from semivox.components import dropped_attention
from semivox.components.dropped_attention import attend

LONG = dropped_attention._LEAST_POSITIONS + 44


def sides(positions: int = LONG, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, 2, 2, positions, 8, generator=generator, dtype=torch.float64)
    return [part.to(dtype).requires_grad_() for part in parts]


@pytest.mark.parametrize("dropout", [0.25, 0.5])
def test_equals_attention_with_the_same_weights_dropped_and_so_do_its_gradients(dropout: float) -> None:
    query, key, value = sides()
    torch.manual_seed(1)
    found = attend(query, key, value, dropout=dropout)
    torch.manual_seed(1)
    keep = dropped_attention._random_bytes(4, LONG).view(2, 2, LONG, LONG) >= 256 * dropout
    expected = ((query @ key.transpose(2, 3) / 8**0.5).softmax(3) * keep / (1 - dropout)) @ value
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    gradients = (torch.autograd.grad((result * upstream).sum(), (query, key, value)) for result in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_drops_each_weight_with_the_given_probability() -> None:
    query, key, _ = (torch.zeros(2, 2, LONG, 8) for _ in range(3))
    kept = attend(query, key, torch.ones(2, 2, LONG, 8), dropout=0.25)  # mean of kept weights, scaled
    assert abs(kept.mean() - 1) < 0.01
    assert kept.std() == pytest.approx((1 / 3 / LONG) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("positions", "dropout"), [(LONG, 0.0), (8, 0.5), (LONG, 0.001)])
def test_short_sequences_and_no_dropout_are_pytorchs(positions: int, dropout: float) -> None:
    query, key, value = sides(positions)
    torch.manual_seed(1)
    found = attend(query, key, value, dropout=dropout)
    torch.manual_seed(1)
    expected = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    assert torch.equal(found, expected)


def test_works_in_bfloat16_under_autocast_as_in_full_precision() -> None:
    low = sides(dtype=torch.bfloat16)
    full = [part.detach().double().requires_grad_() for part in low]
    results, gradients = [], []
    for parts in (low, full):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            results.append(attend(*parts, dropout=0.5))
        gradients.append(torch.autograd.grad(results[-1].double().square().sum(), parts))
    assert results[0].dtype == torch.bfloat16
    torch.testing.assert_close(results[0].double(), results[1], rtol=0.01, atol=0.01)
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=0.02, atol=0.05)
