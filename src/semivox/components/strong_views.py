"""The strong view of an unlabeled batch: the same voxels, other intensities, and a box of another sample."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from semivox.components.mixing import beta_boxes, mix
from semivox.components.perturb import gaussian_noise, uniform_noise


class Splice(NamedTuple):
    """Which sample each sample is spliced with, and where: to be done to an image and to all that belongs to it."""

    partner: Tensor
    """(B,) integers 0..B-1."""
    mask: Tensor
    """(B, *space) or (1, *space) boolean, True keeps the own voxel."""

    def __call__(self, values: Tensor) -> Tensor:
        """Splice (B, C, *space) or (B, *space) values of any type."""
        return mix(values, values[self.partner], self.mask)


class StrongView(NamedTuple):
    """How the strong view is made: noise, then CutMix."""

    noise: Literal["gaussian", "uniform", "none"]
    std: float
    """Of Gaussian noise."""
    clip: float
    """Of Gaussian noise."""
    amplitude: float
    """Of uniform noise."""
    cutmix: bool

    def __call__(self, image: Tensor) -> tuple[Tensor, Splice]:
        """The strong view of (B, C, *space) images, and the splice to be done to all that belongs to them.

        CutMix takes a box in plane (see ``beta_boxes``) from a random permutation of the batch; without it the splice
        changes nothing.
        """
        if self.noise == "gaussian":
            image = gaussian_noise(image, std=self.std, clip=self.clip)
        elif self.noise == "uniform":
            image = uniform_noise(image, amplitude=self.amplitude)
        space, device = image.shape[2:], image.device
        if not self.cutmix:
            return image, Splice(torch.arange(len(image), device=device), torch.ones(1, *space, device=device).bool())
        splice = Splice(
            torch.randperm(len(image), device=device), beta_boxes(space, samples=len(image), like=image)
        )
        return splice(image), splice


def scale_intensity(image: Tensor, spread: float) -> Tensor:
    """``clip(u x, 0, 1)`` with one ``u`` of U(1 - spread, 1 + spread) for each sample: for images in [0, 1] alone.

    A spread of 0 returns the image as it is, not clipped.

    Args:
        image: x, (B, C, *space); not changed.
        spread: 0..1; 0.25 in TraCoCo's pipeline.
    """
    if spread == 0:
        return image
    factor = torch.rand_like(image[(slice(None), *[slice(1)] * (image.dim() - 1))])
    return (image * (1 + spread * (2 * factor - 1))).clamp(0, 1)
