from __future__ import annotations

import numpy as np
import pytest

from semivox.imaging.normalize import channel_ranges, network_input, normalize, scale_to_unit
from semivox.imaging.plan import ChannelPlan

ARRAY = np.array([[[0.0, 2.0], [4.0, 10.0]]], dtype=np.float32)


def channel(scheme: str, **values) -> ChannelPlan:
    return ChannelPlan(**{"name": "x", "scheme": scheme, "mean": 0.0, "std": 1.0, "percentile_00_5": 0.0,
                          "percentile_99_5": 1.0, **values})


def test_zscore_uses_mean_and_deviation_of_the_scan():
    # mean 4, variance (16 + 4 + 0 + 36) / 4 = 14
    expected = (ARRAY - 4) / np.sqrt(14)
    assert np.allclose(normalize(ARRAY, channel("zscore", mean=99.0, std=99.0)), expected, atol=1e-6)


def test_ct_clips_to_the_percentiles_then_uses_the_data_sets_mean_and_deviation():
    result = normalize(ARRAY, channel("ct", percentile_00_5=1.0, percentile_99_5=5.0, mean=3.0, std=2.0))
    assert np.allclose(result, [[[-1.0, -0.5], [0.5, 1.0]]])


def test_minmax_spans_zero_to_one():
    assert np.allclose(normalize(ARRAY, channel("minmax")), ARRAY / 10)


def test_none_leaves_the_voxels_bit_for_bit():
    assert np.array_equal(normalize(ARRAY, channel("none")), ARRAY)


@pytest.mark.parametrize("scheme", ["zscore", "minmax"])
@pytest.mark.parametrize("value", [0.0, 7.3, -1000.1])
def test_a_constant_scan_becomes_zeros(scheme, value):
    result = normalize(np.full((3, 4, 5), value, np.float32), channel(scheme))
    assert np.array_equal(result, np.zeros((3, 4, 5), np.float32))


@pytest.mark.parametrize("scheme", ["zscore", "ct", "minmax", "none"])
def test_the_input_is_not_changed_and_the_result_is_float32(scheme):
    before = ARRAY.copy()
    assert normalize(ARRAY, channel(scheme)).dtype == np.float32
    assert np.array_equal(ARRAY, before)


def test_zscore_is_exact_for_large_offsets():
    array = (np.random.default_rng(0).normal(0, 1, (40, 40, 40)) + 30000).astype(np.float32)
    result = normalize(array, channel("zscore"))
    assert abs(result.mean(dtype=np.float64)) < 1e-3
    assert abs(result.std(dtype=np.float64) - 1) < 1e-3


def scan_of_two_channels() -> np.ndarray:
    return np.random.default_rng(1).normal([[[[3.0]]], [[[-50.0]]]], [[[[2.0]]], [[[9.0]]]], (2, 7, 6, 5)).astype("f4")


def test_minmax_takes_each_channel_of_a_scan_from_its_own_range_to_zero_and_one():
    scan = scan_of_two_channels()
    lows, highs = (np.array([extreme(channel) for channel in scan]).reshape(2, 1, 1, 1) for extreme in (np.min, np.max))
    scaled = network_input(scan, "minmax")
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, (scan - lows) / (highs - lows), atol=1e-6)
    assert [(channel.min(), channel.max()) for channel in scaled] == [(0, 1), (0, 1)]


def test_stored_intensities_are_the_array_itself():
    scan = scan_of_two_channels()
    assert network_input(scan, "stored") is scan


def test_a_patch_scaled_by_its_scans_ranges_is_the_patch_of_the_scaled_scan_bit_by_bit():
    scan = scan_of_two_channels()
    patch = (slice(None), slice(2, 5), slice(1, 4), slice(0, 3))
    assert np.array_equal(scale_to_unit(scan[patch], channel_ranges(scan)), network_input(scan, "minmax")[patch])


def test_minmax_of_a_constant_channel_is_zero_and_of_a_scaled_scan_the_scan():
    scan = np.stack([np.full((3, 4, 5), 7.3, np.float32), np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)])
    before = scan.copy()
    scaled = network_input(scan, "minmax")
    assert not scaled[0].any()
    assert np.array_equal(scaled[1], scan[1])
    assert np.array_equal(scan, before)
