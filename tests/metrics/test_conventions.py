from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from medpy.metric import binary as medpy

from semivox.metrics.conventions import (
    DISTANCES_MM,
    DISTANCES_VOXEL,
    MEASURES,
    PROTOCOLS,
    CaseMetrics,
    Rules,
    class_metrics,
)

SHAPE, SPACING = (6, 8, 10), (1.0, 0.5, 3.0)
DIAGONAL_VOXEL = math.sqrt(36 + 64 + 100)
DIAGONAL_MM = math.sqrt(6.0**2 + 4.0**2 + 30.0**2)
NOTHING = np.zeros(SHAPE, np.uint8)
SOMETHING = NOTHING.copy()
SOMETHING[1:3, 2:5, 3:6] = 1


def scores(prediction: np.ndarray, reference: np.ndarray, value: int = 1, **options: Any) -> CaseMetrics:
    return class_metrics(prediction, reference, [value], **{"spacing_mm": SPACING, **options})[value]


@pytest.mark.parametrize(
    ("prediction", "reference", "kind"),
    [(NOTHING, SOMETHING, "missed"), (SOMETHING, NOTHING, "spurious")],
)
def test_an_absent_structure_scores_nothing_and_the_image_diagonal(
    prediction: np.ndarray, reference: np.ndarray, kind: str
) -> None:
    result = scores(prediction, reference)
    assert (result.kind, result.missed) == (kind, 1)
    assert (result.dice, result.jaccard, result.nsd) == (0.0, 0.0, 0.0)
    assert [getattr(result, name) for name in DISTANCES_VOXEL] == pytest.approx([DIAGONAL_VOXEL] * 3)
    assert [getattr(result, name) for name in DISTANCES_MM] == pytest.approx([DIAGONAL_MM] * 3)


def test_absent_in_both_is_undefined() -> None:
    result = scores(NOTHING, NOTHING)
    assert (result.kind, result.missed) == ("empty", 0)
    assert all(getattr(result, name) is None for name in MEASURES)
    assert result.overlap.tn == NOTHING.size


def test_the_diagonal_is_above_every_distance_that_can_be_measured() -> None:
    one, other = NOTHING.copy(), NOTHING.copy()
    one[0, 0, 0] = other[-1, -1, -1] = 1
    measured, missed = scores(one, other), scores(NOTHING, other)
    for name in (*DISTANCES_VOXEL, *DISTANCES_MM):
        assert getattr(measured, name) < getattr(missed, name)


@pytest.mark.parametrize(("prediction", "reference"), [(NOTHING, SOMETHING), (SOMETHING, NOTHING), (NOTHING, NOTHING)])
def test_legacy_scores_zero_everywhere_where_something_is_absent(
    prediction: np.ndarray, reference: np.ndarray
) -> None:
    result = scores(prediction, reference, rules=Rules(legacy=True))
    assert all(getattr(result, name) == 0.0 for name in MEASURES)
    assert result.missed == int(prediction.any() != reference.any())


def test_legacy_changes_nothing_where_both_are_present() -> None:
    moved = np.roll(SOMETHING, 1, 1)
    assert scores(moved, SOMETHING, rules=Rules(legacy=True)) == scores(moved, SOMETHING)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prediction", [NOTHING, SOMETHING])
def test_unknown_spacing_leaves_millimeters_undefined(prediction: np.ndarray, legacy: bool) -> None:
    result = scores(prediction, SOMETHING, spacing_mm=None, rules=Rules(legacy=legacy))
    assert all(getattr(result, name) is None for name in (*DISTANCES_MM, "nsd"))
    assert all(getattr(result, name) is not None for name in ("dice", "jaccard", *DISTANCES_VOXEL))


@pytest.mark.parametrize("spacing", [(1.25,) * 3, (0.7, 0.9, 3.3)])
def test_equals_medpy_on_the_whole_image(masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, ...]) -> None:
    spacing = spacing[: masks[0].ndim]
    padded = [np.pad(mask, [(2, 5)] * mask.ndim) for mask in masks]
    for prediction, reference in (masks, padded):  # the crop must be exact, at the border and away from it
        found = scores(prediction.astype(np.uint8), reference.astype(np.uint8), spacing_mm=spacing)
        expected = {"dice": medpy.dc(prediction, reference), "jaccard": medpy.jc(prediction, reference)}
        for name in ("hd95", "asd", "assd"):
            expected[f"{name}_voxel"] = getattr(medpy, name)(prediction, reference)
            expected[f"{name}_mm"] = getattr(medpy, name)(prediction, reference, spacing)
        assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-6, rel=0)


def test_each_class_is_scored_as_a_mask_of_its_own() -> None:
    rng = np.random.default_rng(3)
    prediction, reference = (rng.integers(0, 4, (9, 10, 11)).astype(np.uint16) for _ in range(2))
    prediction[prediction == 3] = 0
    together = class_metrics(prediction, reference, (1, 2, 3, 5), spacing_mm=(1.0, 1.0, 2.0))
    assert [together[value].kind for value in (1, 2, 3, 5)] == ["ok", "ok", "missed", "empty"]
    for value in (1, 2):
        alone = [(labels == value).astype(np.uint8) for labels in (prediction, reference)]
        assert together[value] == scores(*alone, spacing_mm=(1.0, 1.0, 2.0))


def test_headline_measures_of_the_protocols() -> None:
    assert PROTOCOLS["clinical"] == ("dice", "hd95_mm", "assd_mm", "nsd")
    assert PROTOCOLS["literature"] == ("dice", "jaccard", "hd95_voxel", "asd_voxel")


@pytest.mark.parametrize(
    ("prediction", "value", "spacing", "problem"),
    [
        (SOMETHING[:-1], 1, SPACING, "one shape"),
        (SOMETHING, 0, SPACING, "classes >= 1"),
        (SOMETHING, 1, (1.0, 1.0), "3 positive spacings"),
        (SOMETHING, 1, (1.0, 0.0, 1.0), "3 positive spacings"),
    ],
)
def test_wrong_arguments_are_refused(
    prediction: np.ndarray, value: int, spacing: tuple[float, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        scores(prediction, SOMETHING, value, spacing_mm=spacing)


def test_three_times_as_fast_as_medpy_at_least() -> None:
    grid = np.indices((183, 140, 88), dtype=np.float32)
    center, size = ((np.array(each, np.float32).reshape(3, 1, 1, 1)) for each in ((90, 70, 44), (55, 40, 30)))
    radius = (((grid - center) / size) ** 2).sum(0)
    reference, prediction = radius < 1, np.roll(radius + 0.1 * np.sin(grid[0] / 4) < 1, 2, 1)
    labels = prediction.astype(np.uint8), reference.astype(np.uint8)
    ours = min(_seconds(lambda: scores(*labels, spacing_mm=(0.625,) * 3)) for _ in range(3))
    theirs = _seconds(
        lambda: [getattr(medpy, name)(prediction, reference) for name in ("dc", "jc", "hd95", "asd", "assd")]
    )
    assert theirs > 3 * ours


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("spacing_mm", [None, (0.6, 0.6, 0.6), (0.6, 0.9, 2.5)])
def test_order_in_memory_changes_no_score(spacing_mm: tuple[float, ...] | None) -> None:
    rng = np.random.default_rng(0)
    prediction, reference = (rng.choice([0, 0, 0, 1, 2], (11, 9, 7)).astype(np.uint8) for _ in range(2))
    expected = class_metrics(prediction, reference, [1, 2, 3], spacing_mm=spacing_mm)
    turned = np.asfortranarray(prediction), np.asfortranarray(reference)
    for one, other in ((turned[0], reference), (prediction, turned[1]), turned):
        found = class_metrics(one, other, [1, 2, 3], spacing_mm=spacing_mm)
        for value, scores in expected.items():
            assert found[value][:2] == scores[:2]
            for one_score, other_score in zip(scores[2:], found[value][2:], strict=True):
                assert other_score == (one_score and pytest.approx(one_score, rel=1e-12))
