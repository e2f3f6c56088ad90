"""InfoNCE against loops written from its equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semivox.losses.contrastive import info_nce


def _cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _reference(anchor, positive, negative, temperature):
    values = np.zeros(anchor.shape[:2])
    for c in range(anchor.shape[0]):
        for i in range(anchor.shape[1]):
            a = anchor[c, i]
            others = negative[c] if negative.ndim == 3 else negative[c, i]
            near = math.exp(_cosine(a, positive[c]) / temperature)
            far = sum(math.exp(_cosine(a, other) / temperature) for other in others)
            values[c, i] = -math.log(near / (near + far))
    return values


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("per_anchor", [False, True])
def test_equals_its_equation(per_anchor):
    anchor, positive = _random(3, 4, 5), _random(3, 5, seed=1)
    negative = _random(*((3, 4, 6, 5) if per_anchor else (3, 6, 5)), seed=2)
    expected = _reference(anchor.numpy(), positive.numpy(), negative.numpy(), 0.5)
    assert np.allclose(info_nce(anchor, positive, negative, temperature=0.5).numpy(), expected, atol=1e-5)


def test_negatives_of_a_class_equal_the_same_negatives_given_to_each_anchor():
    anchor, positive, negative = _random(2, 4, 5), _random(2, 5, seed=1), _random(2, 6, 5, seed=2)
    shared = info_nce(anchor, positive, negative, temperature=0.5)
    single = info_nce(anchor, positive, negative.unsqueeze(1).expand(-1, 4, -1, -1), temperature=0.5)
    assert torch.allclose(shared, single, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_stays_within_its_bounds_and_reaches_both(temperature):
    count = 7
    lowest, highest = (math.log1p(count * math.exp(sign * 2 / temperature)) for sign in (-1, 1))
    values = info_nce(_random(1, 500, 2), _random(1, 2, seed=1), _random(1, count, 2, seed=2), temperature=temperature)
    assert values.min() >= lowest - 1e-4
    assert values.max() <= highest + 1e-4
    along = torch.ones(1, 1, 3)
    best = info_nce(along, along[0], -along.expand(1, count, 3), temperature=temperature)
    worst = info_nce(along, -along[0], along.expand(1, count, 3), temperature=temperature)
    assert best.item() == pytest.approx(lowest, abs=1e-4)
    assert worst.item() == pytest.approx(highest, abs=1e-4)


def test_equal_cosines_give_the_logarithm_of_the_number_of_candidates():
    same = torch.ones(1, 1, 4)
    value = info_nce(same, 3 * same[0], 2 * same.expand(1, 512, 4), temperature=0.5)
    assert value.item() == pytest.approx(math.log(513), rel=1e-5)


def test_vectors_of_zeros_have_a_finite_value_and_gradient():
    anchor = torch.zeros(1, 2, 3, requires_grad=True)
    value = info_nce(anchor, torch.zeros(1, 3), torch.zeros(1, 5, 3), temperature=0.5).sum()
    value.backward()
    assert value.item() == pytest.approx(2 * math.log(6), rel=1e-5)
    assert torch.isfinite(anchor.grad).all()


def test_is_computed_in_float32_under_autocast():
    anchor, positive, negative = _random(2, 4, 5), _random(2, 5, seed=1), _random(2, 6, 5, seed=2)
    plain = info_nce(anchor, positive, negative, temperature=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(anchor, positive, negative, temperature=0.5), plain)
