from __future__ import annotations

import numpy as np
import pytest

from semivox.imaging.normalize import normalize
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
