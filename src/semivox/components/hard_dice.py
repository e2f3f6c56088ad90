"""Dice of hard labels: watched while a method trains, part of no loss."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def hard_dice(answer: Tensor, label: Tensor, *, classes: int) -> Tensor:
    """Dice of labels with labels, mean over the foreground classes, sums over the whole batch: scalar float32, 0..1.

    A class that is in neither counts as 1.

    Args:
        answer: (B, *space) integers 0..K-1.
        label: the same shape.
        classes: K.
    """
    values = []
    for number in range(1, classes):
        mine, theirs = answer == number, label == number
        both, size = 2 * (mine & theirs).sum(), mine.sum() + theirs.sum()
        values.append(torch.where(size > 0, both / size.clamp(min=1), 1.0))
    return torch.stack(values).mean()
