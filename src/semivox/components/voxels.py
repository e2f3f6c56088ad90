"""Voxels of a batch by their positions: their answers, choices of some of them, what is read there, and class means.

A number of voxels is chosen first, so that only their features are computed with. Nothing here waits for the device to
say how many voxels there are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def confidence_and_class(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability of each voxel and its class, (B, *space) float and int64; the first of equal ones.

    The same as ``max(1)``, class by class, which is many times faster on a CPU.

    Args:
        probabilities: (B, K, *space), or anything that grows with them.
    """
    confidence, *others = probabilities.unbind(1)
    answer = torch.zeros_like(confidence, dtype=torch.int64)
    for number, values in enumerate(others, start=1):
        answer.masked_fill_(values > confidence, number)
        confidence = torch.maximum(confidence, values)
    return confidence, answer


class ClassRows(NamedTuple):
    """Chosen voxels of G groups and K classes, n of each; those that are not valid are arbitrary voxels."""

    position: Tensor
    """(G, K, n) int64, in the flattened (G, V); the valid ones are distinct and come first, highest score first."""
    valid: Tensor
    """(G, K, n) boolean."""
    members: Tensor
    """(G, K) int64, how many voxels there were to choose from."""


@torch.no_grad()
def top_per_class(score: Tensor, label: Tensor, member: Tensor, *, classes: int, limit: int) -> ClassRows:
    """The highest scores of each class in each group of voxels, by ``topk``; a class with fewer gives fewer.

    Args:
        score: (G, V), >= 0. Random numbers make the choice a uniform one without replacement.
        label: (G, V) integers 0..K-1.
        member: (G, V) boolean: the voxels that may be chosen.
        classes: K.
        limit: largest number of voxels for each group and class.

    Returns:
        ``n = min(limit, V)`` voxels of each group and class, ``min(count, n)`` of them valid.
    """
    groups, voxels = score.shape
    label = torch.where(member, label, -1)
    indices, counts = [], []
    for number in range(classes):
        mine = label == number
        indices.append(torch.where(mine, score, -1.0).topk(min(limit, voxels), dim=1).indices)
        counts.append(mine.sum(1))
    index, count = torch.stack(indices, 1), torch.stack(counts, 1)
    start = torch.arange(groups, device=score.device).mul_(voxels).view(groups, 1, 1)
    rank = torch.arange(index.shape[2], device=score.device)
    return ClassRows(index + start, rank < count.unsqueeze(2), count)


@torch.no_grad()
def draw(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` of the voxels of a mask uniformly: each at most once if there are enough, else with repetition.

    Args:
        mask: (V,) boolean.
        count: how many; unlike :func:`top_per_class` always all of them.

    Returns:
        (count,) indices, which mean nothing if the mask is empty, and whether it has any voxel (scalar boolean).
    """
    keys = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    order = keys.topk(min(count, len(mask))).indices
    available = mask.sum()
    slot = torch.arange(count, device=mask.device)
    repeat = (torch.rand(count, device=mask.device) * available).long().clamp(max=(available - 1).clamp(min=0))
    return order[torch.where(slot < available, slot, repeat)], available > 0


def features_at(features: Tensor, position: Tensor) -> Tensor:
    """Read the features of some voxels: (*n, D) of maps (B, D, *space).

    Maps that keep their channels last are not copied. Gradients of a voxel that is read more than once are added in
    the same order each time.

    Args:
        features: any memory format.
        position: (*n) integers, positions in the flattened (B, *space).
    """
    # not by indexing: its backward pass adds in any order where there are several threads
    return functional.embedding(position, features.movedim(1, -1).flatten(0, -2))


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
    return features_at(features, position) * inside.unsqueeze(-1)


def class_members(label: Tensor, trusted: Tensor, *, classes: int) -> Tensor:
    """Which trusted voxels are of each class: (*groups, K, V) boolean.

    Args:
        label: (*groups, V) integers 0..K-1.
        trusted: (*groups, V) boolean.
        classes: K.
    """
    return torch.stack([trusted & (label == number) for number in range(classes)], -2)


def class_means(rows: Tensor, members: Tensor) -> Tensor:
    """Mean row of the members of each class over all groups: (K, D) float32, 0 for a class without any.

    Args:
        rows: (*groups, V, D); the sums of a group are computed in their type, so give float32 where it matters.
        members: (*groups, K, V) boolean.
    """
    with torch.autocast(rows.device.type, enabled=False):
        sums = (members.to(rows.dtype) @ rows).float()
    counts = members.sum(-1).reshape(-1, members.shape[-2]).sum(0)
    return sums.reshape(-1, *sums.shape[-2:]).sum(0) / counts.clamp(min=1).unsqueeze(1)
