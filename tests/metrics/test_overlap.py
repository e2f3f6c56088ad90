from __future__ import annotations

import numpy as np
import pytest
from medpy.metric import binary as medpy

from semivox.metrics.overlap import Overlap, count_overlap


def test_counts_by_hand() -> None:
    prediction = np.array([[1, 1, 0], [0, 1, 0]], bool)
    reference = np.array([[1, 0, 0], [1, 1, 0]], bool)
    counts = count_overlap(prediction, reference)
    assert counts == Overlap(tp=2, fp=1, fn=1, tn=2)
    assert (counts.prediction_voxels, counts.reference_voxels) == (3, 3)
    assert counts.dice == pytest.approx(4 / 6)
    assert counts.jaccard == pytest.approx(2 / 4)


def test_a_crop_counts_the_true_negatives_of_the_whole_image() -> None:
    prediction, reference = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    prediction[1:3, 2:4, 3:5] = reference[2:4, 2:4, 3:5] = True
    crop = (slice(1, 4), slice(2, 4), slice(3, 5))
    assert count_overlap(prediction[crop], reference[crop], image_voxels=5 * 6 * 7) == count_overlap(
        prediction, reference
    )


def test_equals_medpy(masks: tuple[np.ndarray, np.ndarray]) -> None:
    counts = count_overlap(*masks)
    assert counts.dice == pytest.approx(medpy.dc(*masks), abs=1e-12)
    assert counts.jaccard == pytest.approx(medpy.jc(*masks), abs=1e-12)
