"""Bring the intensities of a scan to the range that the network was planned for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semivox.imaging.plan import ChannelPlan, Intensity

FLAT = float(np.finfo(np.float32).eps)
"""A spread below this share of the mean is rounding."""


def normalize(array: NDArray[np.float32], plan: ChannelPlan, *,
              out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Normalize one channel by the scheme of its plan.

    ``zscore``: (x - mean) / std of this scan. ``ct``: clipped to the data set's 0.5 and 99.5 percentiles, then
    (x - mean) / std of the data set. ``minmax``: this scan's minimum to 0 and maximum to 1. ``none``: unchanged.
    A scan (or a plan) without spread gives zeros: ``check`` reports such scans.

    Args:
        array: (X, Y, Z); it is not changed unless it is ``out``.
        plan: scheme and numbers of the channel.
        out: (X, Y, Z) array to fill, in any memory order; by default a new one.

    Returns:
        ``out``.
    """
    if out is None:
        out = np.empty_like(array, dtype=np.float32)
    if plan.scheme == "none":
        out[...] = array
        return out
    if plan.scheme == "ct":
        np.clip(array, plan.percentile_00_5, plan.percentile_99_5, out=out)
        return _shift_and_scale(out, plan.mean, plan.std, out=out)
    if plan.scheme == "minmax":
        low, high = float(array.min()), float(array.max())
        return _shift_and_scale(array, low, high - low, out=out)
    return _shift_and_scale(array, *_mean_and_std(array), out=out)


def network_input(image: NDArray[np.float32], intensity: Intensity) -> NDArray[np.float32]:
    """A whole prepared scan as the network takes it.

    Args:
        image: (C, X, Y, Z), normalized and resampled; it is not changed.
        intensity: ``stored`` gives ``image`` itself; ``minmax`` scales each channel from its own range to 0..1.
    """
    return image if intensity == "stored" else scale_to_unit(image, channel_ranges(image))


def channel_ranges(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Minimum and maximum of each channel of a scan (C, X, Y, Z): (C, 2)."""
    space = tuple(range(1, image.ndim))
    return np.stack([image.min(axis=space), image.max(axis=space)], axis=1)


def scale_to_unit(image: NDArray[np.float32], ranges: NDArray[np.float32], *,
                  out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """``(x - minimum) / (maximum - minimum)`` by channel; zeros where a channel has no spread.

    Each voxel counts alone: a patch scaled by the ranges of its scan equals the patch of the scaled scan, bit by bit.

    Args:
        image: (C, X, Y, Z) scan, or a patch of one; it is not changed unless it is ``out``.
        ranges: (C, 2) of the whole scan.
        out: array of the image's shape to fill; by default a new one.

    Returns:
        ``out``.
    """
    if out is None:
        out = np.empty(image.shape, dtype=np.float32)
    for channel, (low, high), result in zip(image, ranges.tolist(), out, strict=True):
        _shift_and_scale(channel, low, high - low, out=result)
    return out


def _mean_and_std(array: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation in float64, without a float64 copy of the scan."""
    mean = float(array.mean(dtype=np.float64))
    planes = np.moveaxis(array, int(np.argmax(np.abs(array.strides))), 0)  # each plane is near in memory
    squares = math.fsum(float(np.square(plane - mean, dtype=np.float64).sum()) for plane in planes)
    return mean, math.sqrt(squares / array.size)


def _shift_and_scale(array: NDArray[np.float32], shift: float, scale: float, *,
                     out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two passes over ``out`` and no other memory, whatever the memory order of the two arrays."""
    if scale <= FLAT * abs(shift) or scale == 0:
        out[...] = 0
        return out
    np.subtract(array, np.float32(shift), out=out)
    out /= np.float32(scale)
    return out
