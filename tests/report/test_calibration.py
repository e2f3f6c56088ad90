"""Probabilities that mean what they say have no error; those that are too sure have one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semivox.imaging.files import write_image, write_label
from semivox.imaging.geometry import Geometry
from semivox.report.calibration import BINS, Tally, predicted_calibration, stored_calibration

SPACING = (1.0, 1.0, 1.0)
GEOMETRY = Geometry(SPACING, (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def drawn(power: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and a reference that is drawn from them raised to a power."""
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, (40, 40, 40))
    return stated, (rng.uniform(0, 1, stated.shape) < stated**power).astype(np.uint8)


def tallied(stated: np.ndarray, reference: np.ndarray) -> Tally:
    tally = Tally()
    tally.add(stated, reference, SPACING)
    return tally


def test_honest_probabilities_have_almost_no_error() -> None:
    found = tallied(*drawn(1.0)).result()
    assert found.error < 0.01
    assert sum(found.counts) == 40**3
    np.testing.assert_allclose(found.stated, (np.arange(BINS) + 0.5) / BINS, atol=0.01)


def test_an_overconfident_network_lies_below_the_diagonal() -> None:
    found = tallied(*drawn(3.0)).result()
    assert found.error > 0.1
    assert all(observed < stated for observed, stated in zip(found.observed, found.stated, strict=True))


def test_only_the_neighborhood_of_the_structure_counts() -> None:
    reference = np.zeros((80, 80, 80), np.uint8)
    reference[38:42, 38:42, 38:42] = 1
    found = tallied(reference.astype(float), reference).result()
    assert sum(found.counts) == 24**3
    assert found.error == 0


def test_stored_probabilities_are_used_and_a_missing_one_says_so(tmp_path: Path) -> None:
    stated, reference = drawn(1.0)
    label = tmp_path / "labelsTs" / "a.nii.gz"
    label.parent.mkdir()
    write_label(label, reference, GEOMETRY)
    predictions = tmp_path / "last"
    assert stored_calibration(predictions, [label]) is None
    (predictions / "probabilities").mkdir(parents=True)
    write_image(predictions / "probabilities" / "a_prob_0.nii.gz", (1 - stated).astype(np.float32), GEOMETRY)
    found = stored_calibration(predictions, [label])
    assert found is not None
    assert found.error == pytest.approx(tallied(stated, reference).result().error, abs=1e-4)
    assert stored_calibration(predictions, []) is None


def test_a_finished_run_predicts_its_test_cases_again(trained_run, toy_store) -> None:
    case = next(case for case in toy_store.cases if case.role == "test")
    scans = tuple(toy_store.path / name for name in case.images)
    found = predicted_calibration(trained_run, [(scans, toy_store.path / case.reference)])
    assert found is not None
    assert found.cases == 1
    assert 0 <= found.error <= 1
