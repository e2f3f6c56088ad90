"""Do probabilities mean what they say? Counted over the voxels of test cases around the structures.

Far from any structure nearly all voxels are background with certainty and would make every network look calibrated:
only the box around the reference, grown by ``MARGIN_MM``, is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semivox.imaging.files import read_image, read_label

BINS = 10
MARGIN_MM = 10.0


class Calibration(NamedTuple):
    """Voxels by their stated probability of foreground (1 - background), in ``BINS`` equal parts of 0..1."""

    stated: tuple[float, ...]
    """Mean stated probability of each part; the middle of the part where it is empty."""
    observed: tuple[float, ...]
    """Share of foreground among its voxels; 0 where it is empty."""
    counts: tuple[int, ...]
    error: float
    """Expected calibration error: mean of |stated - observed|, weighted by the counts (Naeini et al., AAAI 2015)."""
    cases: int


class Tally:
    """Sums over cases from which the calibration follows."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.stated = np.zeros(BINS)
        self.observed = np.zeros(BINS)
        self.cases = 0

    def add(self, probability: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
        """Count a case.

        Args:
            probability: (X, Y, Z) of foreground, 0..1.
            reference: (X, Y, Z) labels on the same grid.
            spacing_mm: size of a voxel.
        """
        box = _box(reference > 0, spacing_mm)
        stated, true = probability[box].ravel(), (reference[box] > 0).ravel()
        places = np.clip((stated * BINS).astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)
        self.stated += np.bincount(places, weights=stated, minlength=BINS)
        self.observed += np.bincount(places, weights=true, minlength=BINS)
        self.cases += 1

    def result(self) -> Calibration:
        """What was counted so far; at least one case."""
        filled = np.maximum(self.counts, 1)
        middles = (np.arange(BINS) + 0.5) / BINS
        stated = np.where(self.counts > 0, self.stated / filled, middles)
        observed = self.observed / filled
        error = float(np.sum(self.counts * np.abs(stated - observed)) / self.counts.sum())
        return Calibration(tuple(stated.tolist()), tuple(observed.tolist()), tuple(self.counts.tolist()), error,
                           self.cases)


def stored_calibration(predictions: Path, references: Iterable[Path]) -> Calibration | None:
    """Calibration from the images that ``predict --probabilities`` wrote; None when any case has none."""
    from semivox.inference.predictor import probability_path

    tally = Tally()
    for reference in references:
        path = probability_path(predictions / reference.name, 0)
        if not path.is_file():
            return None
        truth = read_label(reference)
        tally.add(1 - read_image(path).array, truth.array, truth.geometry.spacing_mm)
    return tally.result() if tally.cases else None


def predicted_calibration(run: Path, cases: Iterable[tuple[tuple[Path, ...], Path]]) -> Calibration | None:
    """Predict the cases with a finished run and count; None without cases.

    Args:
        run: run directory with weights.
        cases: scans of the case (one a channel), and its reference.
    """
    from semivox.engine.deploy import load_deployed
    from semivox.imaging.resample import resample_linear
    from semivox.inference.precision import resolve_device, resolve_precision
    from semivox.inference.predictor import Predictor
    from semivox.inference.sliding import Execution, predict

    deployed, device = load_deployed(run), resolve_device("auto")
    precision = "fp32" if deployed.precision == "fp32" else resolve_precision("auto", device)
    predictor = Predictor(deployed.network, deployed.plan, execution=Execution(2, precision, (), device))
    tally = Tally()
    for scans, reference in cases:
        case, truth = predictor.load(scans), read_label(reference)
        found = predict(predictor.network, case.prepared.image, predictor.window, execution=predictor.execution,
                        probabilities=True)
        assert found.probabilities is not None
        foreground = resample_linear(1 - found.probabilities[0].astype(np.float32), case.prepared.lps_shape)
        tally.add(case.prepared.orientation.undo(foreground), truth.array, truth.geometry.spacing_mm)
    return tally.result() if tally.cases else None


def _box(inside: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[slice, ...]:
    """The box around what is inside, grown by the margin and cut at the edges; everything when nothing is inside."""
    box = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = round(MARGIN_MM / spacing_mm[axis])
        box.append(slice(max(int(found[0]) - margin, 0), int(found[-1]) + margin + 1) if len(found) else slice(None))
    return tuple(box)
