"""Surfaces of label maps as small triangle meshes: surface nets (Gibson, MICCAI 1998) on a smoothed, coarser grid.

A vertex lies in every cell of eight voxels that the surface crosses, at the mean of the crossings of the cell's edges;
four neighboring cells make a face. So a mesh is closed, has no slivers, and its size follows from the grid: decimation
is choosing the grid. That is a page of NumPy, which is why no library is asked for it.
"""

from __future__ import annotations

import base64
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEVEL = 0.5
TARGET = 2600
"""Vertices that a mesh has about; a small structure has fewer."""
QUANTA = 65535
CORNERS = np.array(list(product((0, 1), repeat=3)))
DISTANCE_UNIT_MM = 0.1


class Mesh(NamedTuple):
    """A triangulated surface."""

    vertices_mm: NDArray[np.float64]
    """(V, 3)."""
    faces: NDArray[np.int64]
    """(F, 3) vertex numbers, counterclockwise when seen from outside."""


def surface_nets(field: np.ndarray) -> Mesh:
    """The surface at ``LEVEL`` of a field (X, Y, Z), in units of voxels; outside of the array is 0."""
    padded = np.pad(np.asarray(field, np.float64), 1)
    inside = padded >= LEVEL
    total, count = _crossings(padded, inside)
    active = count > 0
    numbers = np.full(active.shape, -1, np.int64)
    numbers[active] = np.arange(int(active.sum()))
    cells = np.argwhere(active)
    vertices = cells + total[active] / count[active][:, None] - 1  # without the padding
    return Mesh(vertices, _faces(inside, numbers))


def surface_of(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> Mesh | None:
    """A smooth mesh of about ``TARGET`` vertices around a mask (X, Y, Z), in mm of its grid; None without voxels."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box or box[0] is None:
        return None
    spacing = np.array(spacing_mm)
    field = np.pad(mask[box[0]].astype(np.float32), 2)
    step_mm = max(float(spacing.min()), float(np.sqrt(_area_mm2(field > 0, spacing) / TARGET)))
    # at least half a voxel, so that thick slices leave no steps
    field = ndimage.gaussian_filter(field, 0.6 * np.maximum(step_mm, spacing) / spacing)
    sizes = np.maximum(np.rint(np.array(field.shape) * spacing / step_mm), 3).astype(int)
    grid = np.array(field.shape)
    positions = [np.linspace(0, size - 1, count) for size, count in zip(grid, sizes, strict=True)]
    coarse = ndimage.map_coordinates(field, np.meshgrid(*positions, indexing="ij"), order=1)
    mesh = surface_nets(coarse)
    if not len(mesh.faces):
        return None
    start = np.array([part.start for part in box[0]]) - 2
    voxels = mesh.vertices_mm * (grid - 1) / (sizes - 1) + start
    return Mesh(voxels * spacing, mesh.faces)


def distances_mm(mesh: Mesh, mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Distance of each vertex to the surface of a mask (X, Y, Z) on the same grid; all 0 when the mask is empty."""
    if not mask.any() or mask.all():
        return np.zeros(len(mesh.vertices_mm))
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    within = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    signed = outside - within  # half a voxel off at the surface itself, on both sides
    places = (mesh.vertices_mm / np.array(spacing_mm)).T
    found = np.abs(ndimage.map_coordinates(signed, places, order=1, mode="nearest"))
    return np.asarray(np.maximum(found - 0.5 * min(spacing_mm), 0))


def packed(mesh: Mesh, extent_mm: NDArray[np.float64], distances: NDArray[np.float64] | None) -> dict[str, Any]:
    """A mesh as the viewer reads it: little-endian arrays in base64, positions in parts of the scene's extent."""
    scaled = np.clip(np.rint(mesh.vertices_mm / extent_mm * (QUANTA - 2) + 1), 0, QUANTA).astype("<u2")
    tenths = None if distances is None else np.clip(np.rint(distances / DISTANCE_UNIT_MM), 0, 255).astype("u1")
    return {"vertices": _base64(scaled), "faces": _base64(mesh.faces.astype("<u2")),
            "distances": None if tenths is None else _base64(tenths)}


def _crossings(field: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the sum of the points at which its edges cross the level, and their number."""
    shape = tuple(size - 1 for size in field.shape)
    total, count = np.zeros((*shape, 3)), np.zeros(shape, np.int64)

    def corner(volume: np.ndarray, at: np.ndarray) -> np.ndarray:
        part: np.ndarray = volume[tuple(slice(start, start + size) for start, size in zip(at, shape, strict=True))]
        return part

    for start in CORNERS:
        for axis in np.flatnonzero(start == 0):
            end = start + np.eye(3, dtype=int)[axis]
            crossed = corner(inside, start) != corner(inside, end)
            low, high = corner(field, start)[crossed], corner(field, end)[crossed]
            points = np.repeat(start[None].astype(float), len(low), axis=0)
            points[:, axis] = (LEVEL - low) / (high - low)
            total[crossed] += points
            count[crossed] += 1
    return total, count


def _faces(inside: np.ndarray, numbers: np.ndarray) -> NDArray[np.int64]:
    """Two triangles for each pair of neighboring voxels of which one is inside."""
    triangles = []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        before = np.moveaxis(inside, axis, 0)[:-1]
        after = np.moveaxis(inside, axis, 0)[1:]
        starts = np.argwhere(np.moveaxis(before != after, 0, axis))
        leaving = inside[tuple(starts.T)]
        around = []
        for one, other in ((0, 0), (1, 0), (1, 1), (0, 1)):
            cell = starts.copy()
            cell[:, first] -= 1 - one
            cell[:, second] -= 1 - other
            around.append(numbers[tuple(cell.T)])
        a, b, c, d = around
        quads = np.where(leaving[:, None], np.stack([a, b, c, d], 1), np.stack([d, c, b, a], 1))
        triangles += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    return np.concatenate(triangles)


def _area_mm2(inside: np.ndarray, spacing: np.ndarray) -> float:
    """Area of the voxels' outer faces, a third more than that of a smooth surface."""
    faces = [float((np.diff(inside.astype(np.int8), axis=axis) != 0).sum()) for axis in range(3)]
    return sum(number * float(spacing.prod() / spacing[axis]) for axis, number in enumerate(faces)) / 1.5


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
