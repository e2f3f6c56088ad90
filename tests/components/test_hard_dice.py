from __future__ import annotations

import pytest
import torch

from semivox.components.hard_dice import hard_dice


@pytest.mark.parametrize("classes", [2, 4])
def test_hard_dice_equals_the_set_formula(classes):
    generator = torch.Generator().manual_seed(0)
    answer, label = (torch.randint(0, classes, (2, 5, 4, 3), generator=generator) for _ in range(2))
    ratios = []
    for k in range(1, classes):
        mine = {i for i, value in enumerate(answer.flatten().tolist()) if value == k}
        theirs = {i for i, value in enumerate(label.flatten().tolist()) if value == k}
        ratios.append(2 * len(mine & theirs) / (len(mine) + len(theirs)))
    assert hard_dice(answer, label, classes=classes).item() == pytest.approx(sum(ratios) / len(ratios))


def test_a_class_in_neither_counts_as_one_and_a_missed_one_as_zero():
    empty, full = torch.zeros(1, 4, 4, dtype=torch.long), torch.ones(1, 4, 4, dtype=torch.long)
    assert hard_dice(empty, empty, classes=2) == 1
    assert hard_dice(empty, full, classes=2) == 0
    assert hard_dice(full, full, classes=3) == 1
