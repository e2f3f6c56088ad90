"""Losses between two predictions against loops written from their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semivox.losses.consistency import cosine, kl, mse

cases = pytest.mark.parametrize(
    ("classes", "space"),
    [(2, (4, 3)), (4, (4, 3)), (2, (3, 2, 4)), (4, (3, 2, 4))],
    ids=["2-2d", "4-2d", "2-3d", "4-3d"],
)


def _random_pair(classes, space):
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(2, classes, *space, generator=generator) for _ in range(2))
    return first, second.softmax(1)


def _voxels(tensor):
    """Rows of K values, one for each voxel of the batch."""
    return tensor.double().movedim(1, -1).reshape(-1, tensor.shape[1]).numpy()


@cases
def test_mse_is_the_mean_over_voxels_and_classes(classes, space):
    logits, target = _random_pair(classes, space)
    probabilities = logits.softmax(1)
    differences = [
        (a - b) ** 2
        for p, q in zip(_voxels(probabilities), _voxels(target), strict=True)
        for a, b in zip(p, q, strict=True)
    ]
    assert mse(probabilities, target).item() == pytest.approx(np.mean(differences), abs=1e-7)


@cases
def test_kl_is_the_mean_over_voxels_of_the_sum_over_classes(classes, space):
    logits, target = _random_pair(classes, space)
    total = 0.0
    rows = list(zip(_voxels(logits), _voxels(target), strict=True))
    for z, q in rows:
        normalizer = math.log(sum(math.exp(s) for s in z))
        total += sum(b * (math.log(b) - (s - normalizer)) for s, b in zip(z, q, strict=True))
    assert kl(logits, target).item() == pytest.approx(total / len(rows), abs=1e-6)


@cases
def test_cosine_is_the_mean_over_voxels_of_one_minus_the_cosine(classes, space):
    first, second = _random_pair(classes, space)
    values = [
        1 - np.dot(a, b) / (math.sqrt(np.dot(a, a)) * math.sqrt(np.dot(b, b)))
        for a, b in zip(_voxels(first), _voxels(second), strict=True)
    ]
    assert cosine(first, second).item() == pytest.approx(np.mean(values), abs=1e-6)


def test_hand_computed_values():
    # One voxel: p = (3/4, 1/4) from logits (ln 3, 0), q = (1/2, 1/2).
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)
    target = torch.full((1, 2, 1, 1), 0.5)
    assert mse(logits.softmax(1), target).item() == pytest.approx(1 / 16, abs=1e-7)
    assert kl(logits, target).item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), abs=1e-6)
    assert cosine(logits.softmax(1), target).item() == pytest.approx(1 - 2 / math.sqrt(5), abs=1e-6)


def test_equal_predictions_cost_nothing_and_opposite_features_cost_two():
    logits, target = _random_pair(4, (3, 2, 4))
    assert mse(target, target).item() == 0
    assert kl(target.log(), target).item() == pytest.approx(0, abs=1e-6)
    assert cosine(logits, logits).item() == pytest.approx(0, abs=1e-6)
    assert cosine(logits, -logits).item() == pytest.approx(2, abs=1e-6)


def test_kl_takes_hard_targets():
    logits, target = _random_pair(4, (4, 3))
    label = target.argmax(1)
    hard = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    expected = torch.nn.functional.cross_entropy(logits, label)
    torch.testing.assert_close(kl(logits, hard), expected)


@pytest.mark.parametrize("loss", [mse, kl, cosine])
def test_is_float32_under_autocast_with_a_finite_gradient(loss):
    logits, target = _random_pair(4, (4, 3))
    first = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(first, target.bfloat16())
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(first.grad).all()
    expected = loss(logits.bfloat16().float(), target.bfloat16().float()).item()
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [mse, kl, cosine])
def test_the_gradient_reaches_both_sides(loss):
    logits, target = _random_pair(2, (4, 3))
    first, second = logits.requires_grad_(), target.requires_grad_()
    loss(first, second).backward()
    assert first.grad.abs().sum() > 0
    assert second.grad.abs().sum() > 0


def test_cosine_is_that_of_pytorch_and_takes_vectors_of_zeros():
    first, second = torch.randn(2, 16, 4, 3, requires_grad=True), torch.randn(2, 16, 4, 3)
    expected = (1 - torch.nn.functional.cosine_similarity(first, second, dim=1)).mean()
    torch.testing.assert_close(cosine(first, second), expected)
    empty = torch.zeros(1, 3, 2, 2, requires_grad=True)
    value = cosine(empty, torch.ones(1, 3, 2, 2))
    value.backward()
    assert value.item() == 1
    assert torch.isfinite(empty.grad).all()


def test_cosine_of_probabilities_lies_between_zero_and_one():
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    assert cosine(certain[:1], certain[1:]).item() == 1
    assert cosine(certain, certain).item() == 0
    logits, target = _random_pair(4, (4, 3))
    assert 0 < cosine(logits.softmax(1), target).item() < 1
