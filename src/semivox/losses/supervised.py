"""Losses against labels, from logits."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from semivox.losses.overlap import dice_fg_sq


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy, mean over all voxels of the batch: ``-mean_v log softmax(z_v)[y_v]``.

    Args:
        logits: (B, K, *space).
        label: (B, *space) integers 0..K-1.

    Returns:
        Scalar float32.
    """
    return functional.cross_entropy(logits.float(), label.long())


def ce_dice(logits: Tensor, label: Tensor, *, dice: Callable[[Tensor, Tensor], Tensor] = dice_fg_sq) -> Tensor:
    """Half cross-entropy, half Dice: ``(CE + Dice) / 2``.

    Args:
        logits: (B, K, *space).
        label: (B, *space) integers 0..K-1.
        dice: one of the losses of :mod:`semivox.losses.overlap`.

    Returns:
        Scalar float32.
    """
    probabilities = logits.float().softmax(1)
    return 0.5 * (cross_entropy(logits, label) + dice(probabilities, label))
