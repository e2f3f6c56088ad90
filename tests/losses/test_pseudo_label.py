"""The loss of confident pseudo-labels against loops written from its equation."""

from __future__ import annotations

import math

import pytest
import torch

from semivox.losses.pseudo_label import confident_cross_entropy
from semivox.losses.supervised import cross_entropy


def _case(classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, *space, generator=generator)
    label = torch.randint(0, classes, (2, *space), generator=generator)
    return logits, label, torch.rand(2, *space, generator=generator)


def _reference(logits, label, confident):
    summed, count = 0.0, 0
    for sample, answer, sure in zip(logits.flatten(2), label.flatten(1), confident.flatten(1), strict=True):
        for voxel in range(len(answer)):
            values = [math.exp(value) for value in sample[:, voxel].tolist()]
            count += 1
            if sure[voxel]:
                summed -= math.log(values[answer[voxel]] / sum(values))
    return summed / count


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
def test_equals_its_equation_and_divides_by_all_voxels(classes, space):
    logits, label, confidence = _case(classes, space)
    found = confident_cross_entropy(logits, label, confidence >= 0.6)
    assert found.item() == pytest.approx(_reference(logits, label, confidence >= 0.6), abs=1e-5)


def test_a_higher_threshold_never_counts_more_and_stays_below_the_mean():
    logits, label, confidence = _case(3, (6, 6, 4))
    values = [confident_cross_entropy(logits, label, confidence >= tau).item() for tau in (0, 0.5, 0.9, 2)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(cross_entropy(logits, label).item(), rel=1e-5)
    assert values[-1] == 0


def test_nothing_confident_gives_no_gradient():
    logits, label, confidence = _case(2, (4, 4))
    logits.requires_grad_()
    confident_cross_entropy(logits, label, confidence > 2).backward()
    assert logits.grad.abs().sum() == 0
