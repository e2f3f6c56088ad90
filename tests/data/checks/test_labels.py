"""What is measured of a mask, against hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.data.checks.labels import FLIPS, class_facts, label_facts
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry

LPS = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
RIGHT = LPS._replace(direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


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
