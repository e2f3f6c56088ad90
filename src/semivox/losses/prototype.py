"""Distances of voxel features to the prototypes of the classes, on the unit sphere (Dual-Net, ``L_c``)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

PairSign = Literal["minus", "plus"]


class Prototypes(NamedTuple):
    """Mean feature of each class. K classes, D channels."""

    mean: Tensor
    """(K, D) float32; zeros for a class without voxels."""
    present: Tensor
    """(K,) boolean, whether the class has voxels."""


def prototype_distance(
    candidates: Tensor, chosen: Tensor, prototypes: Prototypes, *, pair_sign: PairSign = "minus"
) -> Tensor:
    """Draw voxels to the prototype of their class, and prototypes away from each other.

    ``2/K sum_k mean_i |c_ki - sg u_k| + mean_{k<l} (2 - |u_k - u_l|)``, all vectors scaled to length one; sg stops
    the gradient. A class without candidates or prototype, and a pair with an absent prototype, count zero. With K = 2
    this is the sum of both classes' distances and of the one pair's.

    Args:
        candidates: c, (K, M, D) features, M places for each class.
        chosen: (K, M) boolean, the places that hold a candidate.
        prototypes: u; the gradient reaches them through the second mean alone.
        pair_sign: ``"minus"`` as above; ``"plus"`` has ``|u_k - u_l|`` in the second mean: it pulls them together.

    Returns:
        Scalar float32, each distance in [0, 2].
    """
    classes = len(prototypes.mean)
    means = _unit(prototypes.mean)
    counted = chosen & prototypes.present.unsqueeze(1)
    away = _length(_unit(candidates.float()) - means.detach().unsqueeze(1)).squeeze(-1)
    within = torch.where(counted, away, 0.0).sum(1) / counted.sum(1).clamp(min=1)

    one, other = torch.triu_indices(classes, classes, 1, device=means.device)
    apart = _length(means[one] - means[other]).squeeze(-1)
    pairs = torch.where(prototypes.present[one] & prototypes.present[other], _pair(apart, pair_sign), 0.0)
    return 2 * within.mean() + pairs.mean()


def _pair(distance: Tensor, sign: PairSign) -> Tensor:
    return distance if sign == "plus" else 2 - distance


def _unit(vectors: Tensor) -> Tensor:
    """Scale the last axis to length one; a vector of zeros stays (dropped and rectified channels make them)."""
    length = _length(vectors)
    return vectors / torch.where(length > 0, length, 1.0)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length over the last axis, which is kept; its gradient at zero is zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return length
