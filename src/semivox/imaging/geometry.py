"""Where voxels lie in the patient: spacing, origin and direction in LPS millimeters, and the way to LPS and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

ROUNDING_MM, ROUNDING_VOXELS = 1e-3, 1e-2


class Geometry(NamedTuple):
    """The grid of a scan in world coordinates (LPS, as ITK has them)."""

    spacing_mm: Triple
    """Distance of neighboring voxel centers along each array axis."""
    origin_mm: Triple
    """World position of the center of voxel (0, 0, 0)."""
    direction: tuple[float, ...]
    """9 numbers, row-major (3, 3): column i is the unit vector of array axis i."""
    spacing_known: bool = True
    """False when the file says nothing about its spacing, which is then 1."""

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel index to LPS millimeters."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel index to RAS millimeters, as NIfTI has it."""
        return np.asarray(LPS_FROM_RAS @ self.affine_lps)

    @classmethod
    def from_affine_lps(cls, affine: NDArray[np.float64]) -> Geometry:
        """Take a (4, 4) index-to-LPS matrix apart. Its columns must not be zero."""
        matrix = np.asarray(affine, dtype=np.float64)
        spacing = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
        return cls(_triple(spacing), _triple(matrix[:3, 3]), tuple((matrix[:3, :3] / spacing).ravel().tolist()))

    @classmethod
    def from_affine_ras(cls, affine: NDArray[np.float64]) -> Geometry:
        """Take a (4, 4) index-to-RAS matrix (NIfTI) apart. Its columns must not be zero."""
        return cls.from_affine_lps(LPS_FROM_RAS @ np.asarray(affine, dtype=np.float64))


class Orientation(NamedTuple):
    """Transpose and flips that brought an array to LPS: output axis i is source axis ``axes[i]``, then flipped."""

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: NDArray) -> NDArray:
        """Bring ``array`` (..., X, Y, Z) into this orientation; a view, no value changes."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return np.flip(moved, axis=tuple(lead + axis for axis in range(3) if self.flips[axis]))

    def undo(self, array: NDArray) -> NDArray:
        """Exact inverse of ``apply`` on (..., X, Y, Z); a view, no value changes."""
        lead = array.ndim - 3
        unflipped = np.flip(array, axis=tuple(lead + axis for axis in range(3) if self.flips[axis]))
        back = [lead + self.axes.index(axis) for axis in range(3)]
        return unflipped.transpose(*range(lead), *back)


def orientation_of(geometry: Geometry) -> Orientation:
    """Find the transpose and flips after which the array axes run nearest to left, posterior and superior."""
    matrix = np.reshape(geometry.direction, (3, 3))
    best: tuple[int, ...] = (0, 1, 2)
    best_score = -1.0
    for axes in permutations(range(3)):
        score = float(sum(abs(matrix[world, axis]) for world, axis in enumerate(axes)))
        if score > best_score + 1e-6:  # ties (45 degrees) keep the order of the file
            best, best_score = axes, score
    return Orientation(best, tuple(bool(matrix[world, axis] < 0) for world, axis in enumerate(best)))


def to_lps(array: NDArray, geometry: Geometry) -> tuple[NDArray, Geometry, Orientation]:
    """Turn a scan to the nearest axis-aligned LPS order by transposing and flipping only (lossless).

    Args:
        array: (..., X, Y, Z).
        geometry: of the last three axes.

    Returns:
        A view of the array, its geometry, and the orientation whose ``undo`` is the exact inverse.
    """
    orientation = orientation_of(geometry)
    return orientation.apply(array), reorient(geometry, orientation, array.shape[-3:]), orientation


def reorient(geometry: Geometry, orientation: Orientation, shape: Sequence[int]) -> Geometry:
    """Geometry of the array that ``orientation.apply`` gives; ``shape`` is the source's (X, Y, Z)."""
    affine = geometry.affine_lps
    matrix = np.reshape(geometry.direction, (3, 3))
    signs = np.where(orientation.flips, -1.0, 1.0)
    start = np.zeros(4)
    start[3] = 1.0
    for axis, flip in zip(orientation.axes, orientation.flips, strict=True):
        start[axis] = shape[axis] - 1 if flip else 0
    return Geometry(
        _triple(np.asarray(geometry.spacing_mm)[list(orientation.axes)]),
        _triple((affine @ start)[:3]),
        tuple((matrix[:, list(orientation.axes)] * signs).ravel().tolist()),
        geometry.spacing_known,
    )


def rounding_mm(geometry: Geometry) -> float:
    """Corners of another grid may lie this far apart for both to be one grid that two programs rounded differently.

    That is 0.001 mm, or 1 % of the smallest spacing if that is larger.
    """
    return max(ROUNDING_MM, ROUNDING_VOXELS * min(geometry.spacing_mm))


def max_corner_distance_mm(a: Geometry, b: Geometry, shape: Sequence[int]) -> float:
    """Largest distance between the positions that two geometries give to the eight corner voxels of ``shape``."""
    corners = np.array([[*corner, 1.0] for corner in product(*((0, size - 1) for size in shape))]).T
    difference = (a.affine_lps - b.affine_lps) @ corners
    return float(np.sqrt((difference[:3] ** 2).sum(axis=0)).max())


def _triple(values: NDArray[np.float64]) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
