"""CutMix: two batches spliced by a mask. A mask is boolean (M, *space), M = 1 for all samples or M = B; True keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ALPHA = 4.0
"""Both parameters of the beta distribution of :func:`beta_boxes` (TraCoCo)."""


def mix(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """``first * M + second * (1 - M)``; the same mask on image and label commutes with ``argmax`` and one-hot.

    Args:
        first: (B, C, *space) images or (B, *space) labels or weights, any type.
        second: the same shape and type.
        mask: (M, *space) boolean, M is 1 or B; True takes ``first``.

    Returns:
        The shape and type of ``first``.
    """
    return torch.where(mask if mask.dim() == first.dim() else mask.unsqueeze(1), first, second)


def mix_halves(outside: Tensor, inside: Tensor, mask: Tensor | None) -> Tensor:
    """The first half of the samples, with the second half's voxels where the mask is False: ``mix(a, b, M)`` (CML).

    Args:
        outside: (B, C, *space) or (B, *space), its first half is a; B is even.
        inside: the same shape, its second half is b; often ``outside`` itself.
        mask: (M, *space) boolean, M is 1 or B/2; None mixes nothing and returns all of ``outside``.

    Returns:
        (B/2, ...), or (B, ...) without a mask.
    """
    if mask is None:
        return outside
    half = len(outside) // 2
    return mix(outside[:half], inside[half:], mask)


def box_mask(space: Sequence[int], fraction: float, *, samples: int = 1, like: Tensor | None = None) -> Tensor:
    """True, with one box of False of exactly ``prod(int(fraction * side))`` voxels at a uniform position (CML, BCP).

    Args:
        space: sides of the patch in voxels.
        fraction: beta, side of the box over side of the patch, 0..1.
        samples: M, number of independent boxes.
        like: the mask is made, and its position drawn, where this tensor is (default: on the host).

    Returns:
        (M, *space) boolean.
    """
    device = None if like is None else like.device
    sizes = [int(fraction * side) for side in space]
    places = [side - size + 1 for side, size in zip(space, sizes, strict=True)]
    starts = [torch.randint(count, (samples,), device=device) for count in places]
    return ~_inside(space, starts, [start + size for start, size in zip(starts, sizes, strict=True)])


def beta_boxes(space: Sequence[int], *, samples: int = 1, like: Tensor | None = None) -> Tensor:
    """True, with one box of False for each sample: in the first two axes, over the full depth (TraCoCo, CRLN).

    ``lambda ~ Beta(4, 4)``, one for all samples; the box has the sides ``floor(sqrt(1 - lambda) X)`` and
    ``floor(sqrt(1 - lambda) Y)``, its center is uniform in ``[X/8, X) x [Y/8, Y)``, and what leaves the patch is cut.

    Args:
        space: (X, Y) or (X, Y, Z), sides of the patch in voxels.
        samples: M, number of independent centers.
        like: the mask is made, and its position drawn, where this tensor is (default: on the host).

    Returns:
        (M, *space) boolean.
    """
    device = None if like is None else like.device
    shape = torch.full((), _ALPHA, device=device)
    side_share = (1 - torch.distributions.Beta(shape, shape, validate_args=False).sample()).sqrt()
    starts, stops = [], []
    for side in space[:2]:
        size = (side * side_share).long()
        center = (side * (1 + 7 * torch.rand(samples, device=device)) / 8).long()
        start = center - size // 2
        starts.append(start.clamp(0, side))
        stops.append((start + size).clamp(0, side))
    for side in space[2:]:
        starts.append(torch.zeros_like(starts[0]))
        stops.append(torch.full_like(stops[0], side))
    return ~_inside(space, starts, stops)


def _inside(space: Sequence[int], starts: Sequence[Tensor], stops: Sequence[Tensor]) -> Tensor:
    """(M, *space), True in the box ``starts <= index < stops``; one (M,) tensor of each for each of the axes."""
    inside = torch.ones(1, device=starts[0].device, dtype=torch.bool).view(1, *(1 for _ in space))
    for axis, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        index = torch.arange(space[axis], device=start.device)
        along = (index >= start[:, None]) & (index < stop[:, None])
        inside = inside & along.view(-1, *(space[axis] if other == axis else 1 for other in range(len(space))))
    return inside.expand(-1, *space)
