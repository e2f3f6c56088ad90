from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semivox.evaluation.pairs import Pair
from semivox.evaluation.result import CaseRow, Evaluation, Statistic, statistic
from semivox.metrics.conventions import MEASURES, OVERLAPS, Rules, class_metrics

NAMES = {1: "one", 2: "two"}
SPACING = (1.0, 0.7, 2.0)
NEAR = Rules(tolerance_mm=1.0)


def rows_of(index: int, masks: tuple[np.ndarray, np.ndarray], rules: Rules) -> list[CaseRow]:
    found = class_metrics(*masks, NAMES, spacing_mm=SPACING, rules=rules)
    pair = Pair(f"case{index}", None, Path(f"case{index}.nii.gz"))
    return [CaseRow(pair, label, NAMES[label], found[label], None) for label in NAMES]


def evaluation_of(cases: list[tuple[np.ndarray, np.ndarray]], rules: Rules = NEAR) -> Evaluation:
    rows = [row for index, masks in enumerate(cases) for row in rows_of(index, masks, rules)]
    return Evaluation(tuple(rows), NAMES, "clinical", rules)


def labels(*rows: tuple[int, int, int]) -> np.ndarray:
    """A (6, 3, 3) label map with blocks (start, stop, label) along the first axis."""
    found = np.zeros((6, 3, 3), np.uint8)
    for start, stop, label in rows:
        found[start:stop, 1:, 1:] = label
    return found


def test_statistic_by_hand() -> None:
    assert statistic([1.0, None, 3.0]) == Statistic(2.0, pytest.approx(np.std([1, 3], ddof=1)), 2)
    assert statistic([5.0]) == Statistic(5.0, None, 1)
    assert statistic([None]) == Statistic(None, None, 0)


def test_means_by_hand() -> None:
    reference = labels((0, 2, 1), (3, 5, 2))
    found = evaluation_of([(reference, reference), (labels((0, 1, 1)), reference)])
    assert found.mean("dice", 1) == pytest.approx((100 + 100 * 2 / 3) / 2)
    assert found.mean("dice", 2) == pytest.approx(50.0)
    assert found.mean("dice") == pytest.approx((100 + 100 * 2 / 3 + 100 + 0) / 4)
    assert found.statistic("dice").std == pytest.approx(np.std([100.0, 100 / 3], ddof=1))
    assert found.case_mean("dice") == pytest.approx({"case0": 100.0, "case1": 100 / 3})
    assert found.counts(2) == (2, 1, 0, 0)
    assert found.missed == 1


def test_structures_in_neither_mask_are_in_no_mean_and_counted() -> None:
    reference = labels((0, 2, 1))
    found = evaluation_of([(reference, reference), (labels((0, 2, 1), (3, 5, 2)), labels((0, 2, 1), (3, 5, 2)))])
    assert found.mean("dice", 2) == 100.0
    assert found.statistic("dice", 2).n == 1
    assert found.counts(2) == (1, 0, 0, 1)


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="none of dice, jaccard"):
        evaluation_of([(labels(), labels())]).mean("f1")


masks = st.binary(min_size=24, max_size=24).map(lambda data: (np.frombuffer(data, np.uint8) % 3).reshape(3, 4, 2))


@st.composite
def correct_structures(draw: st.DrawFn) -> tuple[list[tuple[np.ndarray, np.ndarray]], int, int]:
    """Cases, one of which holds a class in both masks, and which case and class that is."""
    cases = draw(st.lists(st.tuples(masks, masks), min_size=1, max_size=3))
    present = [(index, label) for index, (prediction, reference) in enumerate(cases) for label in NAMES
               if (prediction == label).any() and (reference == label).any()]
    if not present:
        cases[0] = (np.ones_like(cases[0][0]), np.ones_like(cases[0][1]))
        present = [(0, 1)]
    return cases, *draw(st.sampled_from(present))


def check_removal(example: tuple[list[tuple[np.ndarray, np.ndarray]], int, int]) -> None:
    cases, index, label = example
    before = evaluation_of(cases)
    prediction, reference = cases[index]
    removed = np.where(prediction == label, 0, prediction).astype(np.uint8)
    kept = [row for row in before.rows if row.case != f"case{index}"]
    after = before._replace(rows=(*kept, *rows_of(index, (removed, reference), NEAR)))
    for measure in MEASURES:
        sign = 1 if measure in OVERLAPS else -1
        for one in (None, *NAMES):
            was, now = before.mean(measure, one), after.mean(measure, one)
            assert (was is None) == (now is None)
            assert was is None or sign * (was - now) >= -1e-9
        if measure not in OVERLAPS:  # the diagonal is above every distance
            assert before.mean(measure, label) < after.mean(measure, label)
    assert after.missed == before.missed + 1
    assert [before.counts(one).scored for one in NAMES] == [after.counts(one).scored for one in NAMES]


@settings(max_examples=150, deadline=None)
@given(correct_structures())
def test_removing_a_correct_prediction_improves_no_aggregate(
    example: tuple[list[tuple[np.ndarray, np.ndarray]], int, int],
) -> None:
    check_removal(example)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(correct_structures())
def test_removing_a_correct_prediction_improves_no_aggregate_in_ten_thousand_examples(
    example: tuple[list[tuple[np.ndarray, np.ndarray]], int, int],
) -> None:
    check_removal(example)


def test_the_legacy_rule_rewards_a_removed_prediction_in_every_distance() -> None:
    reference, shifted = labels((0, 2, 1)), labels((2, 5, 1))
    for measure in ("hd95_voxel", "asd_voxel", "hd95_mm", "assd_mm"):
        kept = evaluation_of([(shifted, reference)], Rules(legacy=True)).mean(measure, 1)
        removed = evaluation_of([(labels(), reference)], Rules(legacy=True)).mean(measure, 1)
        assert removed == 0.0 < kept
