"""The four Dice losses of the literature. They differ, and results differ with them, so each has a name.

Notation: p probabilities (B, K, *space), y one-hot labels, e a smoothing constant. ``fg`` leaves the background
(class 0) out and averages over the foreground classes; ``lin`` and ``sq`` say how p enters the denominator.
Two and three dimensions and any K >= 2 work. A class that is absent from the labels has a finite gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dice_fg_lin(probabilities: Tensor, label: Tensor, *, smooth: float = 1e-8) -> Tensor:
    """Foreground Dice loss, linear denominator, sums over the whole batch (CAML).

    ``1 - mean_{k>0} (2 sum(p_k y_k) + e) / (sum(p_k) + sum(y_k) + e)``

    Args:
        probabilities: (B, K, *space), any floating type.
        label: (B, *space) integers 0..K-1.
        smooth: e.

    Returns:
        Scalar float32 in [0, 1].
    """
    return _batch_loss(_sums(probabilities, label, squared=False, first=1), smooth)


def dice_fg_sq(probabilities: Tensor, label: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Foreground Dice loss, squared denominator, sums over the whole batch (UA-MT, MCF, Dual-Net, TraCoCo, CRLN).

    ``1 - mean_{k>0} (2 sum(p_k y_k) + e) / (sum(p_k^2) + sum(y_k^2) + e)``

    Args:
        probabilities: (B, K, *space), any floating type.
        label: (B, *space) integers 0..K-1.
        smooth: e.

    Returns:
        Scalar float32 in [0, 1].
    """
    return _batch_loss(_sums(probabilities, label, squared=True, first=1), smooth)


def dice_mean_lin(probabilities: Tensor, label: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Dice loss per sample and class, background included, linear denominator (CML).

    ``1 - mean_{b,k} (2 sum(p_bk y_bk) + e) / (sum(p_bk) + sum(y_bk) + e)``

    Args:
        probabilities: (B, K, *space), any floating type.
        label: (B, *space) integers 0..K-1.
        smooth: e.

    Returns:
        Scalar float32 in [0, 1].
    """
    return _loss(*_sums(probabilities, label, squared=False), smooth)


def dice_mean_sq(probabilities: Tensor, label: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Dice loss per class, background included, squared denominator, sums over the whole batch (SSL4MIS).

    ``1 - mean_k (2 sum(p_k y_k) + e) / (sum(p_k^2) + sum(y_k^2) + e)``

    Args:
        probabilities: (B, K, *space), any floating type.
        label: (B, *space) integers 0..K-1.
        smooth: e.

    Returns:
        Scalar float32 in [0, 1].
    """
    return _batch_loss(_sums(probabilities, label, squared=True), smooth)


def _sums(probabilities: Tensor, label: Tensor, *, squared: bool, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, predicted and true volume per sample and class >= first: three (B, K - first) float32 tensors.

    Class by class, so that no one-hot tensor is made; the backward pass keeps one boolean mask for each.
    """
    overlap, predicted, true = [], [], []
    for index, values in enumerate(probabilities.float().unbind(1)[first:], start=first):
        mask = label == index
        overlap.append(_total(torch.where(mask, values, 0.0)))
        predicted.append(_total(values.square() if squared else values))
        true.append(_total(mask).float())
    return torch.stack(overlap, 1), torch.stack(predicted, 1), torch.stack(true, 1)


def _total(values: Tensor) -> Tensor:
    """(B,) sum over space."""
    return values.flatten(1).sum(1)


def _batch_loss(sums: tuple[Tensor, Tensor, Tensor], smooth: float) -> Tensor:
    overlap, predicted, true = (rows.sum(0) for rows in sums)
    return _loss(overlap, predicted, true, smooth)


def _loss(overlap: Tensor, predicted: Tensor, true: Tensor, smooth: float) -> Tensor:
    return 1 - ((2 * overlap + smooth) / (predicted + true + smooth)).mean()
