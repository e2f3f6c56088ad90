from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from medpy.metric import binary as medpy
from scipy import ndimage

from semivox.metrics.surface import SurfaceDistances, surface, surface_distances, surface_distances_mm

SPACINGS = ((1.0, 1.0, 1.0), (0.625, 0.625, 1.25), (0.683594, 0.9, 3.27))


def brute_force(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> SurfaceDistances:
    """All pairs of surface elements, from the definition."""
    points = []
    for mask in (prediction, reference):
        eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))
        points.append(np.argwhere(mask ^ eroded) * np.asarray(spacing))
    table = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    return SurfaceDistances(table.min(1), table.min(0))


def test_surface_is_the_mask_without_its_erosion(masks: tuple[np.ndarray, np.ndarray]) -> None:
    for mask in masks:
        eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))
        assert np.array_equal(surface(mask), mask ^ eroded)


def test_surface_of_a_cube_by_hand() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    assert surface(mask).sum() == 26
    assert not surface(mask)[2, 2, 2]


def test_two_voxels_by_hand() -> None:
    one, other = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    one[0, 0, 0] = other[3, 4, 0] = True
    voxel = surface_distances(one, other)
    assert voxel.hd95 == voxel.asd == voxel.assd == 5.0
    mm = surface_distances_mm(one, other, (2.0, 0.5, 9.0))
    assert mm.hd95 == pytest.approx(np.hypot(6.0, 2.0), abs=1e-12)


def test_asd_is_directed_from_prediction_to_reference() -> None:
    tiny, large = np.zeros((20, 5), bool), np.zeros((20, 5), bool)
    tiny[0, 2] = True
    large[:, 2] = True
    assert surface_distances(tiny, large).asd == 0.0
    assert surface_distances(large, tiny).asd == pytest.approx(np.arange(20).mean())
    assert surface_distances(tiny, large).assd == pytest.approx(np.arange(20).sum() / 21)


def test_hd95_pools_both_directions_and_interpolates() -> None:
    distances = SurfaceDistances(np.array([0.0, 1.0, 2.0]), np.array([10.0]))
    assert distances.hd95 == pytest.approx(2.0 + 0.85 * 8.0)


def test_nsd_counts_elements_of_both_surfaces_within_the_tolerance() -> None:
    distances = SurfaceDistances(np.array([0.0, 1.0, 3.0]), np.array([0.5, 2.0]))
    assert distances.nsd(1.0) == pytest.approx(3 / 5)
    assert distances.nsd(0.0) == pytest.approx(1 / 5)


def test_nsd_is_not_decided_by_rounding() -> None:
    one, other = np.zeros((5, 3, 3), bool), np.zeros((5, 3, 3), bool)
    one[0, 1, 1] = other[3, 1, 1] = True
    assert 3 * 0.1 > 0.3
    assert surface_distances_mm(one, other, (0.1, 1.0, 1.0)).nsd(0.3) == 1.0


def test_equals_medpy_in_voxels(masks: tuple[np.ndarray, np.ndarray]) -> None:
    distances = surface_distances(*masks)
    assert distances.hd95 == pytest.approx(medpy.hd95(*masks), abs=1e-6)
    assert distances.asd == pytest.approx(medpy.asd(*masks), abs=1e-6)
    assert distances.assd == pytest.approx(medpy.assd(*masks), abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equals_medpy_in_mm(masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, ...]) -> None:
    spacing = spacing[: masks[0].ndim]
    distances = surface_distances_mm(*masks, spacing)
    assert distances.hd95 == pytest.approx(medpy.hd95(*masks, spacing), abs=1e-6)
    assert distances.asd == pytest.approx(medpy.asd(*masks, spacing), abs=1e-6)
    assert distances.assd == pytest.approx(medpy.assd(*masks, spacing), abs=1e-6)


def test_equals_all_pairs_of_elements(masks: tuple[np.ndarray, np.ndarray]) -> None:
    spacing = SPACINGS[2][: masks[0].ndim]
    expected = brute_force(*masks, spacing)
    found = surface_distances_mm(*masks, spacing)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-9)
    assert found.nsd(2.0) == pytest.approx(np.mean(np.concatenate(expected) <= 2.0))


def test_voxel_distances_are_exact_far_away() -> None:
    one, other = np.zeros((700, 500), bool), np.zeros((700, 500), bool)
    one[0, 0] = other[699, 499] = True
    assert surface_distances(one, other).hd95 == np.hypot(699, 499)


@pytest.mark.parametrize("measure", [surface_distances, lambda p, r: surface_distances_mm(p, r, (1, 1))])
def test_an_empty_mask_or_another_shape_is_refused(measure: Callable[..., SurfaceDistances]) -> None:
    full = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="empty"):
        measure(full, np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match="one shape"):
        measure(full, np.ones((3, 4), bool))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0)])
def test_a_spacing_that_does_not_fit_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive spacings"):
        surface_distances_mm(np.ones((3, 3), bool), np.ones((3, 3), bool), spacing)
