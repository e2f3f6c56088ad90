"""What is measured of an image, against hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.data.checks.images import image_facts, voxel_digest
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
