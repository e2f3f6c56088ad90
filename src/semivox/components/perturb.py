"""Input noise, drawn on the image's device from torch's default generator (seeded for each step by the engine)."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_noise(image: Tensor, *, std: float = 0.1, clip: float = 0.2) -> Tensor:
    """Return ``image + clip(std * N(0, 1), -clip, +clip)``, independently for each voxel.

    Args:
        image: any shape, floating point; not changed.
        std: standard deviation before clipping, in units of the normalized intensity.
        clip: largest absolute change of a voxel, same unit.
    """
    return image + torch.randn_like(image).mul_(std).clamp_(-clip, clip)


def uniform_noise(image: Tensor, *, amplitude: float = 0.2) -> Tensor:
    """Return ``image + U(-amplitude, +amplitude)``, independently for each voxel.

    Args:
        image: any shape, floating point; not changed.
        amplitude: largest absolute change of a voxel, in units of the normalized intensity.
    """
    return image + torch.rand_like(image).mul_(2 * amplitude).sub_(amplitude)
