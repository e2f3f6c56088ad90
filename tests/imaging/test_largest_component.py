from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from semivox.imaging.largest_component import largest_component


def by_scipy(labels: np.ndarray) -> np.ndarray:
    """Full connectivity, first of the largest in raster order: ``label`` and ``argmax(bincount[1:]) + 1``."""
    kept = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        components, _ = ndimage.label(labels == value, structure=np.ones((3,) * labels.ndim))
        kept[components == np.bincount(components.ravel())[1:].argmax() + 1] = value
    return kept


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(23, 17), (13, 11, 9), (16, 16, 1)])
def test_is_the_component_that_scipy_finds(shape: tuple[int, ...], classes: int, share: float) -> None:
    random = np.random.default_rng(len(shape) + classes)
    for _ in range(20):  # sparse ones have many components of equal size: ties are part of the comparison
        labels = random.integers(1, classes, shape).astype(np.uint8) * (random.random(shape) < share)
        before = labels.copy()
        kept = largest_component(labels)
        np.testing.assert_array_equal(kept, by_scipy(labels))
        np.testing.assert_array_equal(labels, before)


def test_one_component_of_each_class_nothing_added_and_a_second_call_changes_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (15, 14, 13))
    kept = largest_component(labels)
    assert np.all((kept == labels) | (kept == 0))
    for value in range(1, 4):
        assert ndimage.label(kept == value, structure=np.ones((3, 3, 3)))[1] == 1
    np.testing.assert_array_equal(largest_component(kept), kept)


def test_classes_are_filtered_apart_also_where_they_touch() -> None:
    labels = np.array([[1, 1, 2, 0, 2, 2, 1]])
    np.testing.assert_array_equal(largest_component(labels), [[1, 1, 0, 0, 2, 2, 0]])


def test_voxels_that_share_a_corner_belong_together() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 3, 0] = 1
    kept = largest_component(labels)
    assert np.argwhere(kept).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_of_equal_components_the_first_in_array_order_stays() -> None:
    labels = np.zeros((3, 9), np.uint8)
    labels[1, 0:3] = labels[0, 5:8] = labels[2, 5:8] = 1
    assert np.argwhere(largest_component(labels)).tolist() == [[0, 5], [0, 6], [0, 7]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_nothing_stays_nothing_and_the_type_is_kept(dtype: type) -> None:
    empty = largest_component(np.zeros((5, 4, 3), dtype))
    assert empty.dtype == dtype
    assert not empty.any()
    full = np.full((5, 4), 3, dtype)
    np.testing.assert_array_equal(largest_component(full), full)


def test_order_in_memory_does_not_matter() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (12, 10, 8)).astype(np.uint8) * 1
    labels[np.random.default_rng(2).random(labels.shape) < 0.7] = 0
    np.testing.assert_array_equal(largest_component(np.asfortranarray(labels)), largest_component(labels))
