"""Omni-correlation consistency against loops written from its equations."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from semivox.losses import correlation
from semivox.losses.correlation import correlation_rows, cross_entropy_of_rows, omni_correlation

kinds = pytest.mark.parametrize("similarity", ["dot", "cosine"])


def material(rows: int = 6, columns: int = 5, width: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, prototypes = (torch.randn(n, width, generator=generator) for n in (rows, columns))
    return queries, prototypes, torch.tensor([True, True, False, True, True])


def by_hand(queries: np.ndarray, prototypes: np.ndarray, similarity: str, temperature: float) -> list[list[float]]:
    rows = []
    for q in queries:
        values = []
        for z in prototypes:
            value = sum(a * b for a, b in zip(q, z, strict=True))
            if similarity == "cosine":
                value /= math.sqrt(sum(a * a for a in q)) * math.sqrt(sum(b * b for b in z))
            values.append(math.exp(temperature * value))
        rows.append([value / sum(values) for value in values])
    return rows


@kinds
def test_rows_are_the_softmax_of_the_similarities_to_the_drawn_prototypes(similarity: str) -> None:
    queries, prototypes, drawn = material()
    rows = correlation_rows(queries, prototypes, drawn, similarity=similarity, temperature=2.0)
    expected = by_hand(queries.double().numpy(), prototypes[drawn].double().numpy(), similarity, 2.0)
    np.testing.assert_allclose(rows[:, drawn].numpy(), expected, atol=1e-6)
    assert rows[:, ~drawn].abs().sum() == 0
    assert (rows >= 0).all()
    torch.testing.assert_close(rows.sum(1), torch.ones(6))


def compare_with(prototypes: torch.Tensor, drawn: torch.Tensor, similarity: str = "dot") -> partial:
    return partial(correlation_rows, prototypes=prototypes, drawn=drawn, similarity=similarity, temperature=2.0)


@kinds
@pytest.mark.parametrize("block", [2, 4, 100])
def test_loss_is_the_equation(similarity: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_BLOCK_ROWS", block)
    queries, prototypes, drawn = material()
    targets = queries.flip(0)
    counted = torch.tensor([True, False, True, True, False, True])
    slow_s, slow_t = (
        by_hand(q.double().numpy(), prototypes[drawn].double().numpy(), similarity, 2.0) for q in (queries, targets)
    )
    total = 0.0
    for row in (0, 2, 3, 5):
        total -= sum(t * math.log(s + 1e-8) for s, t in zip(slow_s[row], slow_t[row], strict=True))
    value = omni_correlation(queries, targets, counted, compare_with(prototypes, drawn, similarity))
    assert value.item() == pytest.approx(total / 4, rel=1e-5)


@kinds
def test_blocks_have_the_gradients_of_all_rows_at_once(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_BLOCK_ROWS", 4)
    queries, prototypes, drawn = material()
    counted = torch.tensor([True, False, True, True, False, True])
    found, expected = ([side.clone().requires_grad_() for side in (queries, queries.flip(0))] for _ in range(2))
    compare = compare_with(prototypes, drawn, similarity)
    (3 * omni_correlation(*found, counted, compare)).backward()
    rows = cross_entropy_of_rows(*(compare(side) for side in expected))
    (3 * rows[counted].mean()).backward()
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
        assert mine.grad[~counted].abs().sum() == 0
        assert (mine.grad[counted].abs().sum(1) > 0).all()


@pytest.mark.parametrize("side", [0, 1])
def test_a_detached_side_gets_no_gradient_and_the_other_the_same(side: int) -> None:
    queries, prototypes, drawn = material()
    everybody, compare = torch.ones(6, dtype=torch.bool), compare_with(prototypes, drawn)
    both = [queries.clone().requires_grad_(), queries.flip(0).requires_grad_()]
    omni_correlation(*both, everybody, compare).backward()
    one = [rows.detach().requires_grad_(index == side) for index, rows in enumerate(both)]
    omni_correlation(*one, everybody, compare).backward()
    torch.testing.assert_close(one[side].grad, both[side].grad)
    assert one[1 - side].grad is None
    assert not omni_correlation(*(rows.detach() for rows in both), everybody, compare).requires_grad


def test_is_the_entropy_of_equal_rows_and_more_of_others_up_to_its_bound() -> None:
    queries, prototypes, drawn = material()
    rows = compare_with(prototypes, drawn)(queries)
    others = compare_with(prototypes, drawn)(queries.flip(0))
    entropy = torch.special.entr(rows).sum(1)
    torch.testing.assert_close(cross_entropy_of_rows(rows, rows), entropy, rtol=1e-4, atol=1e-6)
    assert (cross_entropy_of_rows(others, rows) >= entropy - 1e-6).all()
    opposite = cross_entropy_of_rows(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert opposite.item() == pytest.approx(-math.log(1e-8), rel=1e-5)


@kinds
def test_nothing_drawn_or_counted_and_zero_vectors_stay_finite(similarity: str) -> None:
    queries, prototypes = torch.zeros(3, 4, requires_grad=True), torch.zeros(5, 4)
    nobody, everybody = torch.zeros(5, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    compare = compare_with(prototypes, nobody, similarity)
    torch.testing.assert_close(compare(queries), torch.full((3, 5), 0.2))
    nothing = omni_correlation(queries, queries, ~everybody, compare)
    (omni_correlation(queries, queries, everybody, compare) + nothing).backward()
    assert nothing == 0
    assert torch.isfinite(queries.grad).all()


@kinds
def test_is_float32_under_autocast_matrix_product_included(similarity: str) -> None:
    queries, prototypes, drawn = material()
    compare, everybody = compare_with(prototypes.half(), drawn, similarity), torch.ones(6, dtype=torch.bool)
    given = queries.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        rows = compare(queries)
        value = omni_correlation(given, given, everybody, compare)
    value.backward()
    assert value.dtype == rows.dtype == torch.float32
    assert given.grad.dtype == torch.bfloat16
    torch.testing.assert_close(rows, compare_with(prototypes.half().float(), drawn, similarity)(queries))
