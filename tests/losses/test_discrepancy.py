from __future__ import annotations

import numpy as np
import pytest
import torch

from semivox.losses.discrepancy import discrepancy

SHAPES = [(2, 5, 4, 3), (2, 6, 3, 2, 2)]


def by_loops(f: np.ndarray, g: np.ndarray) -> float:
    """1 + the mean of cos(f, g) over samples and positions."""
    f, g = (values.reshape(*values.shape[:2], -1) for values in (f, g))
    cosines = []
    for b in range(f.shape[0]):
        for v in range(f.shape[2]):
            dot = sum(f[b, d, v] * g[b, d, v] for d in range(f.shape[1]))
            norms = [np.sqrt(sum(values[b, d, v] ** 2 for d in range(f.shape[1]))) for values in (f, g)]
            cosines.append(dot / (norms[0] * norms[1]))
    return 1 + float(np.mean(cosines))


@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_equation(shape: tuple[int, ...]) -> None:
    f, g = np.random.default_rng(0).normal(size=(2, *shape))
    expected = by_loops(f, g)
    assert discrepancy(torch.tensor(f), torch.tensor(g)).item() == pytest.approx(expected, rel=1e-5)


def test_flattened_it_is_one_cosine_for_each_sample() -> None:
    f, g = np.random.default_rng(1).normal(size=(2, 2, 5, 4, 3))
    expected = by_loops(f.reshape(2, -1, 1), g.reshape(2, -1, 1))
    found = discrepancy(torch.tensor(f), torch.tensor(g), flatten=True)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert abs(found.item() - by_loops(f, g)) > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_range_and_its_ends(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    f, g = torch.randn(2, *shape)
    assert 0 <= discrepancy(f, g) <= 2
    assert 1 <= discrepancy(f.relu(), g.relu()) <= 2
    assert discrepancy(f, f).item() == pytest.approx(2, rel=1e-6)
    assert discrepancy(f, -3 * f).item() == pytest.approx(0, abs=1e-6)
    one, other = torch.zeros(2, *shape)
    one[:, 0], other[:, 1] = 2.0, 0.5
    assert discrepancy(one, other).item() == 1


def test_only_the_first_learns() -> None:
    f, g = (torch.randn(2, 4, 3, 3, requires_grad=True) for _ in range(2))
    discrepancy(f, g).backward()
    assert g.grad is None
    assert f.grad.abs().sum() > 0
    before = discrepancy(f, g)
    assert discrepancy(f - 0.5 * f.grad, g) < before


def test_vectors_of_no_length_count_as_orthogonal_with_finite_gradient() -> None:
    f = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = discrepancy(f, torch.randn(1, 3, 2, 2))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(f.grad).all()
    assert discrepancy(torch.randn(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item() == 1


def test_half_precision_is_computed_in_float32() -> None:
    f, g = torch.randn(2, 1, 64, 3, 3).bfloat16()
    found = discrepancy(f, g)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(discrepancy(f.double(), g.double()).item(), rel=1e-5)
