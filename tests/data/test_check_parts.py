"""The numbers that the checks across cases work with, against hand-computed ones."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.data.checks.images import image_facts, voxel_digest
from semivox.data.checks.labels import FLIPS, ClassFacts, class_facts, label_facts
from semivox.data.checks.leakage import duplicate_problems
from semivox.data.checks.outliers import outlier_problems
from semivox.data.layouts.naming import find_naming, usual_channels
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry

LPS = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
RIGHT = LPS._replace(direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def test_the_digest_sees_voxels_and_shape_and_not_memory_order() -> None:
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    digest = voxel_digest(values)
    assert voxel_digest(np.asfortranarray(values)) == digest
    assert voxel_digest(np.where(values == values[0, 0, 0], values + 1, values)) != digest
    assert voxel_digest(values.reshape(5, 7, 6)) != digest


def test_the_digest_does_not_see_the_sign_of_zero() -> None:
    zeros = np.zeros((2, 2, 2), np.float32)
    assert voxel_digest(zeros) == voxel_digest(-zeros)


def test_image_facts_are_range_and_percentiles() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    facts = image_facts(Scan(values, LPS), "x", channel=0)
    assert (facts.minimum, facts.maximum, facts.constant) == (0.0, 999.0, False)
    assert facts.low == pytest.approx(5, abs=1)
    assert facts.high == pytest.approx(994, abs=1)


@pytest.mark.parametrize(("others", "constant"), [(9, True), (11, False)])
def test_an_image_is_constant_above_999_permille(others: int, constant: bool) -> None:
    values = np.zeros(10_000, np.float32)
    values[:others] = 5
    assert image_facts(Scan(values.reshape(10, 10, 100), LPS), "x", channel=0).constant == constant


def block() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0:2] = 1
    values = np.zeros((4, 4, 4), np.float32)
    values[0, 0, 0:2] = 8
    return labels, values


def test_class_facts_are_contrast_position_and_size() -> None:
    labels, values = block()
    facts = class_facts(Scan(labels, LPS), Scan(values, LPS), {0: 62, 1: 2})[1]
    mean, spread = 16 / 64, np.sqrt(128 / 64 - (16 / 64) ** 2)
    assert facts.contrast == pytest.approx((8 - mean) / spread)
    assert facts.centroid == pytest.approx((0.125, 0.125, 0.25))
    assert facts.log_share == pytest.approx(np.log(2 / 64))
    # Nothing bright lies at any mirrored place.
    assert facts.flipped_contrast == pytest.approx([-mean / spread] * len(FLIPS))


def test_position_is_told_in_the_patient_and_not_in_the_array() -> None:
    labels, values = block()
    facts = class_facts(Scan(labels, RIGHT), Scan(values, RIGHT), {0: 62, 1: 2})[1]
    assert facts.centroid == pytest.approx((0.875, 0.125, 0.25))


def test_specks_are_classes_without_two_voxels_side_by_side() -> None:
    labels, _ = block()
    labels[2, 2, 2] = labels[3, 3, 3] = 2
    facts = label_facts(Scan(labels, LPS))
    assert facts.counts == {0: 60, 1: 2, 2: 2}
    assert facts.specks == (2,)


def random_facts(rng: np.random.Generator) -> ClassFacts:
    x, y, z = rng.normal((0.3, 0.4, 0.5), 0.03).tolist()
    return ClassFacts(rng.normal(1, 0.3), (x, y, z), rng.normal(-3, 0.3), tuple(rng.normal(0, 0.3, 7)))


@pytest.mark.parametrize("seed", range(20))
def test_masks_that_vary_normally_raise_no_alarm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert outlier_problems({str(i): {1: random_facts(rng)} for i in range(60)}, ("background", "x")) == []


@pytest.mark.parametrize(("count", "found"), [(7, 0), (8, 1)])
def test_fewer_than_eight_masks_say_nothing(count: int, found: int) -> None:
    usual = ClassFacts(1.0, (0.3, 0.4, 0.5), -3.0, (0.0,) * 7)
    cases = {str(index): {1: usual} for index in range(count)}
    cases["0"] = {1: usual._replace(centroid=(0.9, 0.4, 0.5))}
    assert [problem.code for problem in outlier_problems(cases, ("background", "x"))] == ["I29"] * found


def test_a_group_of_equal_scans_is_one_finding() -> None:
    images = [("train", "a", "1"), ("train", "b", "1"), ("unlabeled", "c", "1"), ("test", "t", "2")]
    found = duplicate_problems(images)  # type: ignore[arg-type]
    assert [(problem.code, problem.problem) for problem in found] == [
        ("D7", "the same voxels appear 3 times: a, b, c")]


def test_one_leaked_scan_of_a_group_is_an_error_that_names_all() -> None:
    images = [("unlabeled", "u", "1"), ("train", "a", "1"), ("test", "t", "1")]
    found = duplicate_problems(images)  # type: ignore[arg-type]
    assert [(problem.code, problem.severity) for problem in found] == [("D8", "error")]
    assert "a, u = t" in found[0].problem


@pytest.mark.parametrize(("groups", "declared", "wanted"), [
    ([{0}, {0}, {0, 1}], None, 1), ([{0, 1}, {0, 1}, {0}], None, 2), ([{0}, {0}, {0, 1}], 2, 2),
    ([{0, 1}, {0, 1}, {0}], 1, 2), ([{0}, {0}], 3, 1), ([{0}, {0, 1}], None, 2)])
def test_the_files_say_how_many_channels_there_are(groups: list[set[int]], declared: int | None, wanted: int) -> None:
    assert usual_channels(groups, declared=declared) == wanted


def test_a_name_that_is_known_wins_over_a_channel() -> None:
    naming = find_naming(["p", "p_0001"], {"p_0001"}, channels=None)
    assert naming.parse("p_0001") == ("p_0001", 0)
    assert find_naming(["p_0000"], {"p"}, channels=None).parse("p_0000") == ("p", 0)
    assert find_naming(["p_12"], {"p"}, channels=None).parse("p_12") == ("p_12", 0)
