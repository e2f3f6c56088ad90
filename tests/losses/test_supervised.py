"""Cross-entropy and its sum with Dice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semivox.losses.overlap import dice_fg_sq, dice_mean_lin
from semivox.losses.supervised import ce_dice, cross_entropy


def _random_case(classes, space):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, classes, *space, generator=generator)
    return logits, torch.randint(0, classes, (2, *space), generator=generator)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("space", [(4, 3), (3, 2, 4)], ids=["2d", "3d"])
def test_cross_entropy_equals_its_equation(classes, space):
    logits, label = _random_case(classes, space)
    z, y = logits.double().numpy(), label.numpy()
    losses = []
    for b, *voxel in np.ndindex(*y.shape):
        scores = z[(b, slice(None), *voxel)]
        losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[y[(b, *voxel)]])
    assert cross_entropy(logits, label).item() == pytest.approx(np.mean(losses), abs=1e-6)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    label = torch.tensor([[[0, 3], [1, 2]]])
    assert cross_entropy(torch.zeros(1, 4, 2, 2), label).item() == pytest.approx(math.log(4), abs=1e-6)


@pytest.mark.parametrize("dice", [dice_fg_sq, dice_mean_lin])
def test_ce_dice_is_half_of_each(dice):
    logits, label = _random_case(4, (3, 2, 4))
    expected = 0.5 * cross_entropy(logits, label) + 0.5 * dice(logits.softmax(1), label)
    torch.testing.assert_close(ce_dice(logits, label, dice=dice), expected)


def test_ce_dice_uses_the_squared_foreground_dice_by_default():
    # Equal logits: p = 1/2 everywhere; one of two voxels is foreground. Dice = 1 - 2 * 0.5 / (0.25 + 0.25 + 1) = 1/3.
    value = ce_dice(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    assert value.item() == pytest.approx(0.5 * (math.log(2) + 1 / 3), abs=1e-5)


def test_losses_are_float32_and_finite_with_an_absent_class_under_autocast():
    logits, label = _random_case(4, (3, 2, 4))
    label[label == 2] = 0
    rounded = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = ce_dice(rounded, label.to(torch.uint8))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(rounded.grad).all()
    assert value.item() == pytest.approx(ce_dice(logits.bfloat16().float(), label).item(), abs=1e-6)
