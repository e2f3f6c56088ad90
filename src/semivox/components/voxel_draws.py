"""Voxels of a batch by their position among all of them: drawn from a mask, averaged by class, with their surroundings.

Nothing here waits for the device to say how many voxels there are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def draw(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` of the voxels of a mask uniformly: each at most once if there are enough, else with repetition.

    Args:
        mask: (V,) boolean.
        count: how many.

    Returns:
        (count,) indices, which mean nothing if the mask is empty, and whether it has any voxel (scalar boolean).
    """
    keys = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    order = keys.topk(min(count, len(mask))).indices
    available = mask.sum()
    slot = torch.arange(count, device=mask.device)
    repeat = (torch.rand(count, device=mask.device) * available).long().clamp(max=(available - 1).clamp(min=0))
    return order[torch.where(slot < available, slot, repeat)], available > 0


def class_means(rows: Tensor, label: Tensor, trusted: Tensor, *, classes: int) -> Tensor:
    """Mean row of the trusted voxels of each class: (K, h) float32, 0 for a class without any.

    Args:
        rows: (V, h).
        label: (V,) integers 0..K-1.
        trusted: (V,) boolean.
        classes: K.
    """
    members = torch.stack([trusted & (label == number) for number in range(classes)], 1)
    sums = (rows.mT @ members.to(rows.dtype)).mT  # twice as fast as the other way round
    return sums.float() / members.sum(0).clamp(min=1).unsqueeze(1)


def neighborhoods(features: Tensor, index: Tensor) -> Tensor:
    """The 3x3x3 (3x3) surroundings of some voxels, 0 outside: (n, 27, D) in the order of a convolution's weights.

    Args:
        features: (B, D, *space).
        index: (n,) integers, positions among all voxels of the batch.
    """
    space = features.shape[2:]
    sample, *place = torch.unravel_index(index, (features.shape[0], *space))
    steps = torch.arange(-1, 2, device=index.device)
    offsets = torch.cartesian_prod(*[steps] * len(space))
    position, inside = sample.unsqueeze(1), torch.ones_like(index, dtype=torch.bool).unsqueeze(1)
    for axis, side in enumerate(space):
        at = place[axis].unsqueeze(1) + offsets[:, axis]
        inside = inside & (at >= 0) & (at < side)
        position = position * side + at.clamp(0, side - 1)
    # not by indexing: its backward pass adds in any order where there are several threads
    return functional.embedding(position, features.movedim(1, -1).flatten(0, -2)) * inside.unsqueeze(-1)
