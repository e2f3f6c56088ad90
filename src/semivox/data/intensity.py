"""Strong intensity augmentation: what another scanner, coil or protocol would change, and no voxel moves.

For normalized scans (z-scores or 0..1): every strength is relative to the channel's own range or deviation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

BRIGHTNESS_STDS = (-0.5, 0.5)
CONTRAST = (0.6, 1.6)
GAMMA = (0.6, 1.7)
NOISE_STDS = (0.0, 0.15)
BLUR_SIGMA_VOXELS = (0.5, 1.25)
LOW_RESOLUTION_ZOOM = (0.5, 0.9)
PROBABILITY = 0.5
RARE_PROBABILITY = 0.25


def strong_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the intensities of an image (C, *space) channel by channel; a new float32 array of the same shape.

    In this order, each drawn on its own per channel: blur and low resolution (probability 1/4 each), gamma, contrast,
    brightness and Gaussian noise (1/2 each). The same generator state gives the same result.
    """
    return np.stack([_augment_channel(channel, rng) for channel in image.astype(np.float32)])


def _augment_channel(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for change, probability in _CHANGES:
        if rng.random() < probability:
            channel = change(channel, rng).astype(np.float32, copy=False)
    return channel


def blur(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur with sigma 0.5..1.25 voxels."""
    sigma = rng.uniform(*BLUR_SIGMA_VOXELS)
    return np.asarray(ndimage.gaussian_filter(channel, sigma, mode="nearest", truncate=3.0))


def low_resolution(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep 50..90 % of the voxels along each axis (nearest), then interpolate back linearly."""
    zoom = rng.uniform(*LOW_RESOLUTION_ZOOM)
    small = [max(1, round(side * zoom)) for side in channel.shape]
    coarse = channel
    for axis, (side, count) in enumerate(zip(channel.shape, small, strict=True)):
        coarse = np.take(coarse, ((np.arange(count) + 0.5) * side / count).astype(int), axis=axis)
    for axis, (side, count) in enumerate(zip(channel.shape, small, strict=True)):
        coarse = _stretch(coarse, axis, at=(np.arange(side) + 0.5) * count / side - 0.5)
    return coarse


def gamma(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``x ** g`` with g in 0.6..1.7 on the channel's range; range, mean and deviation of the channel are kept."""
    low, high = float(channel.min()), float(channel.max())
    if high <= low:
        return channel
    changed = ((channel - low) / (high - low)) ** np.float32(rng.uniform(*GAMMA))
    deviation = float(changed.std())
    if deviation == 0:
        return channel
    return np.asarray((changed - changed.mean()) * (float(channel.std()) / deviation) + channel.mean())


def contrast(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale the distance to the channel's mean by 0.6..1.6, clipped to the channel's range."""
    changed = (channel - channel.mean()) * np.float32(rng.uniform(*CONTRAST)) + channel.mean()
    return np.asarray(np.clip(changed, channel.min(), channel.max()))


def brightness(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add up to half a standard deviation of the channel."""
    return np.asarray(channel + np.float32(rng.uniform(*BRIGHTNESS_STDS) * channel.std()))


def gaussian_noise(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add white noise of up to 0.15 standard deviations of the channel."""
    strength = np.float32(rng.uniform(*NOISE_STDS) * channel.std())
    return np.asarray(channel + strength * rng.standard_normal(channel.shape, dtype=np.float32))


def _stretch(array: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    """Interpolate linearly along one axis at (fractional) positions; the ends are held."""
    at = np.clip(at, 0, array.shape[axis] - 1)
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, array.shape[axis] - 1)
    share = (at - below).astype(np.float32).reshape([-1 if axis == i else 1 for i in range(array.ndim)])
    blend = np.take(array, below, axis=axis) * (1 - share) + np.take(array, above, axis=axis) * share
    return np.asarray(blend)


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
_CHANGES: tuple[tuple[Change, float], ...] = (
    (blur, RARE_PROBABILITY),
    (low_resolution, RARE_PROBABILITY),
    (gamma, PROBABILITY),
    (contrast, PROBABILITY),
    (brightness, PROBABILITY),
    (gaussian_noise, PROBABILITY),
)
