"""Distances between the surfaces of two masks, computed once for all measures that are read off them.

Definitions are those of MedPy 0.5.2 (``medpy.metric.binary``): the surface of a mask is what one erosion with
face connectivity (6 neighbors in 3D, 4 in 2D) takes away, outside of the image counts as background, and each
surface element has the distance between voxel centers to the nearest element of the other surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semivox.metrics.nearest import distances_to

ROUNDING = 1e-6
"""A distance this share above a tolerance still counts as within, so that float rounding decides nothing."""


class SurfaceDistances(NamedTuple):
    """Distances of both directions, unordered, in one unit (voxels or mm)."""

    to_reference: np.ndarray
    """(n,) float64: from each element of the prediction's surface to the reference's surface."""
    to_prediction: np.ndarray
    """(m,) float64: from each element of the reference's surface to the prediction's surface."""

    @property
    def hd95(self) -> float:
        """95th percentile (linear interpolation) of both directions pooled; not the maximum of two percentiles."""
        return float(np.percentile(np.concatenate(self), 95))

    @property
    def asd(self) -> float:
        """Mean distance from the prediction's surface to the reference's: directed, as MedPy and the papers have it."""
        return float(self.to_reference.mean())

    @property
    def assd(self) -> float:
        """Mean distance of both directions pooled (symmetric)."""
        return float(np.concatenate(self).mean())

    def nsd(self, tolerance: float) -> float:
        """Share of both surfaces' elements, pooled, within ``tolerance`` of the other surface, 0..1."""
        return float(np.mean(np.concatenate(self) <= tolerance * (1 + ROUNDING)))

    def scaled(self, factor: float) -> SurfaceDistances:
        """The same distances in a unit ``1 / factor`` times as large."""
        return SurfaceDistances(self.to_reference * factor, self.to_prediction * factor)


def surface(mask: np.ndarray) -> np.ndarray:
    """Elements of a boolean mask with a face neighbor outside of it: ``mask XOR erosion(mask)``.

    Voxels at the edge of the array are surface, as if background surrounded it.
    """
    inside = mask.copy(order="K")  # in another order than the mask, the steps below take thirty times as long
    for axis in range(mask.ndim):
        kept, source = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= source[:-1]
        kept[:-1] &= source[1:]
        kept[0] = kept[-1] = False
    border: np.ndarray = mask & ~inside
    return border


def surface_distances(prediction: np.ndarray, reference: np.ndarray) -> SurfaceDistances:
    """Distances in voxels between the surfaces of two masks, neither of them empty.

    Squared voxel distances are whole numbers, exact in every way taken (see ``semivox.metrics.nearest``).

    Args:
        prediction: boolean mask with 1 to 3 axes. A crop that holds both structures gives the same distances as
            the whole image.
        reference: boolean mask of the same shape.

    Raises:
        ValueError: when the shapes differ or a mask is empty.
    """
    predicted, present = _surfaces(prediction, reference)
    return SurfaceDistances(distances_to(present, predicted), distances_to(predicted, present))


def surface_distances_mm(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]
) -> SurfaceDistances:
    """Distances in mm between the surfaces of two masks, neither of them empty, for any spacing.

    Computed in float64: rounding to float32 would be more than the agreement with MedPy allows.

    Args:
        prediction: boolean mask, any number of axes.
        reference: boolean mask of the same shape.
        spacing_mm: voxel size along each axis, all > 0.

    Raises:
        ValueError: when the shapes differ, a mask is empty, or the spacing does not fit.
    """
    predicted, present = _surfaces(prediction, reference)
    if len(spacing_mm) != prediction.ndim or min(spacing_mm) <= 0:
        raise ValueError(f"expected {prediction.ndim} positive spacings, got {tuple(spacing_mm)}")
    return SurfaceDistances(
        distances_to(present, predicted, spacing_mm), distances_to(predicted, present, spacing_mm))


def _surfaces(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != reference.shape:
        raise ValueError(f"masks of one shape expected, got {prediction.shape} and {reference.shape}")
    if not (prediction.any() and reference.any()):
        raise ValueError("no surface distance is defined to an empty mask")
    return surface(prediction), surface(reference)
