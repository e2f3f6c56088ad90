"""The four Dice losses against loops written from their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semivox.losses.overlap import dice_fg_lin, dice_fg_sq, dice_mean_lin, dice_mean_sq

SPACES = [(5, 4), (4, 3, 5)]


def _ratio(p, y, power, smooth):
    overlap = denominator = 0.0
    for a, b in zip(p.ravel(), y.ravel(), strict=True):
        overlap += a * b
        denominator += a**power + b**power
    return (2 * overlap + smooth) / (denominator + smooth)


def _reference(probabilities, label, *, power, smooth, foreground_only, per_sample):
    ratios = []
    for k in range(1 if foreground_only else 0, probabilities.shape[1]):
        p, y = probabilities[:, k], (label == k).astype(np.float64)
        groups = [(p[b], y[b]) for b in range(len(p))] if per_sample else [(p, y)]
        ratios += [_ratio(a, b, power, smooth) for a, b in groups]
    return 1 - np.mean(ratios)


LOSSES = {
    dice_fg_lin: {"power": 1, "smooth": 1e-8, "foreground_only": True, "per_sample": False},
    dice_fg_sq: {"power": 2, "smooth": 1e-5, "foreground_only": True, "per_sample": False},
    dice_mean_lin: {"power": 1, "smooth": 1e-5, "foreground_only": False, "per_sample": True},
    dice_mean_sq: {"power": 2, "smooth": 1e-5, "foreground_only": False, "per_sample": False},
}

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def _random_case(classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, classes, *space, generator=generator)
    return logits, torch.randint(0, classes, (3, *space), generator=generator)


@each_loss
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("space", SPACES, ids=["2d", "3d"])
def test_equals_its_equation_on_random_input(loss, classes, space):
    logits, label = _random_case(classes, space)
    probabilities = logits.softmax(1)
    expected = _reference(probabilities.double().numpy(), label.numpy(), **LOSSES[loss])
    assert loss(probabilities, label).item() == pytest.approx(expected, abs=1e-6)


# Two voxels, one sample: p = (0.2, 0.4) for class 1, labels (0, 1).
#   class 1: overlap 0.4, linear sum 0.6 + 1, squared sum 0.04 + 0.16 + 1
#   class 0: overlap 0.8, linear sum 1.4 + 1, squared sum 0.64 + 0.36 + 1
HAND_COMPUTED = {
    dice_fg_lin: 1 - 0.8 / 1.6,
    dice_fg_sq: 1 - 0.8 / 1.2,
    dice_mean_lin: 1 - (0.8 / 1.6 + 1.6 / 2.4) / 2,
    dice_mean_sq: 1 - (0.8 / 1.2 + 1.6 / 2.0) / 2,
}


@each_loss
def test_equals_the_value_computed_by_hand(loss):
    foreground = torch.tensor([[[0.2, 0.4]]])
    probabilities = torch.stack((1 - foreground, foreground), 1)
    label = torch.tensor([[[0, 1]]])
    assert loss(probabilities, label).item() == pytest.approx(HAND_COMPUTED[loss], abs=1e-5)


def test_only_the_per_sample_loss_weighs_a_small_structure_like_a_large_one():
    label = torch.zeros(2, 10, 10, dtype=torch.long)
    label[0, :8] = 1
    label[1, 0, 0] = 1
    predicted = torch.zeros_like(label)
    predicted[0, :8] = 1
    probabilities = torch.nn.functional.one_hot(predicted, 2).movedim(-1, 1).float()
    assert dice_fg_lin(probabilities, label).item() == pytest.approx(1 - 160 / 161, abs=1e-6)
    assert dice_mean_lin(probabilities, label).item() == pytest.approx((0 + 0 + 1 + (1 - 198 / 199)) / 4, abs=1e-5)


@each_loss
def test_a_perfect_prediction_costs_nothing(loss):
    _, label = _random_case(4, (6, 5))
    probabilities = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    assert loss(probabilities, label).item() == pytest.approx(0, abs=1e-6)


@each_loss
@pytest.mark.parametrize("space", SPACES, ids=["2d", "3d"])
def test_the_gradient_is_finite_when_a_class_is_absent(loss, space):
    logits, label = _random_case(4, space)
    label[label == 3] = 1
    logits = logits.requires_grad_()
    loss(logits.softmax(1), label).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


@each_loss
def test_the_gradient_is_finite_when_an_absent_class_has_probability_zero(loss):
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.stack((torch.full((1, 4, 4), 200.0), torch.full((1, 4, 4), -200.0)), 1).requires_grad_()
    value = loss(logits.softmax(1), label)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@each_loss
def test_the_gradient_equals_finite_differences(loss):
    logits, label = _random_case(3, (2, 2))
    step, flat = 1e-2, logits.flatten()
    analytic = torch.autograd.functional.jacobian(lambda z: loss(z.softmax(1), label), logits).flatten()
    for index in (0, 5, 17):
        values = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[index] += sign * step
            values.append(loss(moved.view_as(logits).softmax(1), label).item())
        assert analytic[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=2e-4)


@each_loss
def test_is_computed_in_float32_under_autocast_and_takes_any_integer_label(loss):
    logits, label = _random_case(4, (4, 3, 5))
    probabilities = logits.softmax(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(probabilities, label.to(torch.uint8))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(probabilities.float(), label).item(), abs=1e-7)


def test_sums_over_a_large_volume_stay_exact():
    foreground = torch.full((1, 128, 128, 128), 0.3)
    probabilities = torch.stack((1 - foreground, foreground), 1)
    label = torch.ones(1, 128, 128, 128, dtype=torch.long)
    assert dice_fg_lin(probabilities, label).item() == pytest.approx(1 - 0.6 / 1.3, abs=1e-6)
