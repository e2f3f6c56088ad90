"""Losses in which voxels do not count alike. They take log-probabilities, so that several can share one softmax.

Notation: p probabilities, B samples, K classes. None of them detaches anything but what its arguments ask for.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_IGNORED = -100


def coverage_weighted_ce(log_probabilities: Tensor, label: Tensor, reliable: Tensor) -> Tensor:
    """Cross-entropy of the reliable voxels R, scaled by inverse coverage: ``N/|R| * mean_{v in R} (-log p_v[y_v])``.

    N is the number of all voxels (Dual-Net, ``L_u``).

    Args:
        log_probabilities: log p, (B, K, *space).
        label: y, (B, *space) integers 0..K-1.
        reliable: R, (B, *space) boolean; an empty one costs nothing.

    Returns:
        Scalar float32, >= 0.
    """
    target = torch.where(reliable, label.long(), _IGNORED).flatten(1)
    logs = log_probabilities.float().flatten(2)
    count = reliable.sum().clamp(min=1)
    summed = functional.nll_loss(logs, target, ignore_index=_IGNORED, reduction="sum")
    return summed * (reliable.numel() / count.float().square())


def kl_weighted_ce(
    log_probabilities: Tensor, target_log_probabilities: Tensor, *, detach_weight: bool = False
) -> Tensor:
    """Hard labels of another network, each with the weight of its agreement (Dual-Net, ``L_unc``).

    ``mean_v exp(-KL_v) (-log p_v[argmax q_v]) + mean_v KL_v`` with ``KL_v = sum_k q_vk (log q_vk - log p_vk)``

    Args:
        log_probabilities: log p of the network that learns, (B, K, *space).
        target_log_probabilities: log q of the one that teaches, the same shape.
        detach_weight: take ``exp(-KL)`` for a constant. Otherwise p may also lower its loss by disagreeing more.

    Returns:
        Scalar float32, >= 0; for p = q the mean cross-entropy to the own answer.
    """
    logs, targets = log_probabilities.float(), target_log_probabilities.float()
    divergence = (targets.exp() * (targets - logs)).sum(1)
    weight = (-divergence.detach() if detach_weight else -divergence).exp()
    cross_entropy = -logs.gather(1, targets.max(1, keepdim=True).indices).squeeze(1)
    return (weight * cross_entropy + divergence).mean()


def masked_brier(probabilities: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Squared error to the labels on the voxels M: ``mean_{v in M} 1/2 sum_k (p_vk - [y_v = k])^2``.

    With K = 2 this is ``(p_v1 - y_v)^2`` (Dual-Net, ``L_cr``).

    Args:
        probabilities: p, (B, K, *space).
        label: y, (B, *space) integers 0..K-1.
        mask: M, (B, *space) boolean; an empty one costs nothing.

    Returns:
        Scalar float32, in [0, 1].
    """
    values = probabilities.float()
    true = values.gather(1, label.long().unsqueeze(1)).squeeze(1)
    error = 0.5 * (values.square().sum(1) + 1) - true
    return torch.where(mask, error, 0.0).sum() / mask.sum().clamp(min=1)
