"""The fingerprint describes training images: grids in LPS order, intensities per channel, the same every time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from semivox.data.fingerprint import SAMPLES_PER_CASE, is_ct, merge_summaries, summarize_case
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def scan(array: np.ndarray, spacing_mm=(1.0, 2.0, 3.0), direction=IDENTITY, known: bool = True) -> Scan:
    return Scan(array.astype(np.float32), Geometry(spacing_mm, (0.0, 0.0, 0.0), direction, known))


def test_shape_and_spacing_are_in_lps_order_for_a_turned_scan():
    # Array axis 0 runs superior, axis 1 left, axis 2 anterior.
    direction = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0)
    summary = summarize_case("a", [scan(np.zeros((4, 5, 6)), (3.0, 0.7, 0.8), direction)])
    assert summary.shape == (5, 6, 4)
    assert summary.spacing_mm == pytest.approx((0.7, 0.8, 3.0))


def test_statistics_of_a_known_distribution_are_found_per_channel():
    ramp = np.linspace(0, 100, 30 * 30 * 30).reshape(30, 30, 30)
    fingerprint = merge_summaries([summarize_case(name, [scan(ramp), scan(-2 * ramp)]) for name in "ab"], ["T1", "T2"])
    first, second = fingerprint.channels
    assert (first.name, second.name) == ("T1", "T2")
    assert first.mean == pytest.approx(50, abs=1)
    assert first.std == pytest.approx(100 / np.sqrt(12), abs=1)
    percentiles = (first.percentile_00_5, first.percentile_50, first.percentile_99_5)
    assert percentiles == pytest.approx((0.5, 50, 99.5), abs=1.5)
    assert (first.minimum, first.maximum) == (0, 100)
    assert (second.minimum, second.maximum) == (-200, 0)
    assert second.mean == pytest.approx(-2 * first.mean, rel=1e-5)


def test_each_case_weighs_the_same_whatever_its_size():
    small, large = np.zeros((4, 4, 4)), np.ones((40, 40, 40))
    fingerprint = merge_summaries([summarize_case("s", [scan(small)]), summarize_case("l", [scan(large)])], ["MR"])
    assert fingerprint.channels[0].mean == 0.5


def test_the_same_cases_give_the_same_fingerprint_in_any_order():
    cases = [summarize_case(name, [scan(np.random.default_rng(i).normal(size=(40, 40, 40)))])
             for i, name in enumerate("abc")]
    assert merge_summaries(cases, ["MR"]) == merge_summaries(cases[::-1], ["MR"])
    assert cases[0].samples.shape == (1, SAMPLES_PER_CASE)


def test_air_does_not_enter_the_statistics_of_ct():
    volume = np.full((20, 20, 20), -1000.0)
    volume[5:15, 5:15, 5:15] = 40.0
    ct = merge_summaries([summarize_case("a", [scan(volume)])], ["CT"]).channels[0]
    other = merge_summaries([summarize_case("a", [scan(volume)])], ["MR"]).channels[0]
    assert (ct.mean, ct.std, ct.minimum) == (40.0, 0.0, -1000.0)
    assert other.mean < -800


def test_a_ct_channel_without_tissue_values_keeps_all_voxels():
    fingerprint = merge_summaries([summarize_case("a", [scan(np.full((9, 9, 9), -1000.0))])], ["CT"])
    assert fingerprint.channels[0].mean == -1000


@pytest.mark.parametrize(("name", "expected"), [("CT", True), ("cta venous", True), ("CT_0", True), ("T1", False),
                                                ("FLAIR", False), ("ACT", False), ("LGE-MRI", False)])
def test_ct_is_recognized_by_whole_words(name, expected):
    assert is_ct(name) is expected


def test_json_is_strict_and_says_when_a_spacing_is_unknown():
    summaries = [summarize_case("a", [scan(np.zeros((3, 4, 5)))]),
                 summarize_case("b", [scan(np.zeros((3, 4, 5)), known=False)])]
    content = json.loads(json.dumps(merge_summaries(summaries, ["MR"]).to_json(), allow_nan=False))
    assert content["spacing_known"] is False
    assert content["case_count"] == 2
    assert content["median_shape"] == [3, 4, 5]
    assert [case["name"] for case in content["cases"]] == ["a", "b"]
