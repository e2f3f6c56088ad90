"""Strong intensity augmentation: other intensities, same anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from semivox.data import intensity
from semivox.data.intensity import strong_intensity


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth_image(*shape: int) -> np.ndarray:
    noise = rng(1).standard_normal((2, *shape))
    return ndimage.gaussian_filter(noise, (0, *[2.0] * len(shape))).astype(np.float32) * 5


@pytest.mark.parametrize("shape", [(24, 20, 16), (24, 20), (5, 1, 1)])
def test_shape_and_type_are_kept_and_values_stay_finite(shape: tuple[int, ...]) -> None:
    image = smooth_image(*shape)
    for seed in range(30):
        changed = strong_intensity(image, rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()


def test_the_input_is_not_changed() -> None:
    image = smooth_image(12, 12, 12)
    before = image.copy()
    for seed in range(10):
        strong_intensity(image, rng(seed))
    np.testing.assert_array_equal(image, before)


def test_the_same_generator_gives_the_same_image_and_another_gives_another() -> None:
    image = smooth_image(12, 12, 12)
    np.testing.assert_array_equal(strong_intensity(image, rng(3)), strong_intensity(image, rng(3)))
    assert len({strong_intensity(image, rng(seed)).tobytes() for seed in range(10)}) >= 9


def test_channels_are_changed_independently() -> None:
    image = np.repeat(smooth_image(12, 12, 12)[:1], 2, axis=0)
    different = [not np.array_equal(*strong_intensity(image, rng(seed))) for seed in range(20)]
    assert sum(different) >= 18


def test_no_voxel_moves() -> None:
    image = smooth_image(32, 32, 24)
    for seed in range(30):
        changed = strong_intensity(image, rng(seed))
        for channel in range(2):
            assert np.corrcoef(image[channel].ravel(), changed[channel].ravel())[0, 1] > 0.8


@pytest.mark.parametrize("change", [intensity.blur, intensity.low_resolution, intensity.gamma, intensity.contrast])
def test_a_constant_channel_stays_constant(change: intensity.Change) -> None:
    constant = np.full((8, 7, 6), 3.0, np.float32)
    np.testing.assert_allclose(change(constant, rng()), constant, rtol=1e-6)


def test_gamma_keeps_mean_and_deviation_and_the_order_of_intensities() -> None:
    channel = smooth_image(16, 16, 16)[0]
    for seed in range(10):
        changed = intensity.gamma(channel, rng(seed))
        assert changed.mean() == pytest.approx(channel.mean(), abs=1e-3)
        assert changed.std() == pytest.approx(channel.std(), rel=1e-3)
        assert (np.diff(changed.ravel()[np.argsort(channel.ravel())]) >= -1e-5).all()


def test_contrast_stays_in_the_range_of_the_channel() -> None:
    channel = smooth_image(16, 16, 16)[0]
    for seed in range(10):
        changed = intensity.contrast(channel, rng(seed))
        assert changed.min() >= channel.min()
        assert changed.max() <= channel.max()


def test_brightness_adds_one_number_of_at_most_half_a_deviation() -> None:
    channel = smooth_image(16, 16, 16)[0]
    for seed in range(10):
        added = intensity.brightness(channel, rng(seed)) - channel
        assert np.ptp(added) < 1e-5
        assert abs(added.mean()) <= 0.5 * channel.std() + 1e-5


def test_noise_has_at_most_the_stated_strength() -> None:
    channel = smooth_image(24, 24, 24)[0]
    strengths = [(intensity.gaussian_noise(channel, rng(seed)) - channel).std() / channel.std() for seed in range(20)]
    assert min(strengths) > 0
    assert 0.1 < max(strengths) < 0.16


def test_low_resolution_removes_detail_and_keeps_a_ramp() -> None:
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (32, 32, 32)).copy()
    noise = rng(2).standard_normal((32, 32, 32)).astype(np.float32)
    for seed in range(5):
        coarse = intensity.low_resolution(ramp, rng(seed))
        assert np.abs(coarse - ramp).max() < 2.5
        assert intensity.low_resolution(noise, rng(seed)).std() < noise.std()
