"""The shapes in a generated scan: a chest with a hollow organ, its thin veins, and neighbors that look the same.

Shapes are signed distances in millimetres (negative inside), sampled at voxel centers, so that a scan with another
spacing shows the same body. Axes are (Left, Posterior, Superior); lengths are for a field of view of 96 mm and scale
with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

STRUCTURES = ("atrium", "ventricle", "aorta", "right_atrium", "outflow")
"""What can be labeled, in class order from 1. Those that are not labeled are in the scan all the same."""
FIELD_MM = 96.0
VEINS = ((1, 0.35, 0.55), (1, 0.45, -0.5), (-1, 0.35, 0.55), (-1, 0.45, -0.5))
"""Directions in which the organ's veins leave it."""
WARP_MM, WARP_KNOTS = 2.5, 5
FAR_MM, NEAR_MM = 1000.0, 6.0
"""A shape further away than ``NEAR_MM`` may be said to be ``FAR_MM`` away."""

Field = NDArray[np.float32]
Vector = NDArray[Any]


class Grid(NamedTuple):
    """Voxel centers of a scan in millimetres from its middle, and how long lengths of the anatomy are here."""

    points: Field
    """(3, X, Y, Z)."""
    scale: float
    """Millimetres per nominal millimetre."""


class Anatomy(NamedTuple):
    """Signed distances in millimetres, each (X, Y, Z)."""

    body: Field
    lungs: Field
    spine: Field
    lung_vessels: Field
    nodes: Field
    structures: tuple[Field, ...]
    """One per name in ``STRUCTURES``, not overlapping: 1.5 mm (scaled) of wall lie between any two."""


def make_grid(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Grid:
    """Place voxel centers symmetrically around the origin; the anatomy scales with the smaller in-plane extent."""
    axes = [(np.arange(side) - (side - 1) / 2) * step for side, step in zip(shape, spacing_mm, strict=True)]
    extents = [side * step for side, step in zip(shape, spacing_mm, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    return Grid(points, min(extents[:2]) / FIELD_MM)


def smooth_field(shape: tuple[int, ...], knots: int, rng: np.random.Generator) -> Field:
    """A smooth random field (cubic through ``knots`` random values per axis) with mean about 0, deviation about 0.5."""
    values = rng.standard_normal((knots,) * len(shape)).astype(np.float32)
    for side in shape:
        # Each product puts the axis it stretched last, so that after all of them the order is the first again.
        values = np.tensordot(values, ndimage.zoom(np.eye(knots, dtype=np.float32), (side / knots, 1)), axes=(0, 1))
    return values


def draw_anatomy(grid: Grid, rng: np.random.Generator, variability: float) -> Anatomy:
    """Draw one body.

    Args:
        grid: where to sample it.
        rng: source of randomness.
        variability: strength of the differences between bodies; 1 is the default, 0 gives the mean body.
    """
    shape = grid.points.shape[1:]
    warp = np.stack([smooth_field(shape, WARP_KNOTS, rng) for _ in range(3)])
    space = grid.points / np.float32(grid.scale) + np.float32(WARP_MM * variability) * warp
    space += _vector(rng.normal(0, 4 * variability, 3))[:, None, None, None]
    atrium_center = _vector(2, 7, 4) + _vector(rng.normal(0, 2 * variability, 3))
    spread = rng.uniform(1 - 0.14 * variability, 1 + 0.16 * variability, 3)
    tilt = _rotation(rng.normal(0, 14 * variability, 3))
    body = _superellipse(space, semi=(54, 45))
    lungs = np.minimum(_ellipsoid(space, (34, 2, 0), (17, 32, 64)), _ellipsoid(space, (-34, 2, 0), (17, 32, 64)))
    lungs = np.maximum(lungs, body + 7)
    atrium = _ellipsoid(space, atrium_center, _vector(20, 14.5, 17) * spread, tilt)
    atrium = np.minimum(atrium, np.maximum(_veins(space, atrium_center, tilt, rng), body + 8))
    others = (atrium, *_neighbors(space, atrium_center, tilt, rng))
    spine = _tube(space, [_vector(0, 35, -90), _vector(0, 34, 0), _vector(0, 35, 90)], (9, 9))
    lung_vessels = np.maximum(_lung_vessels(space, rng), lungs)
    parts = (body, lungs, spine, lung_vessels, _nodes(space, rng), *_keep_apart(others, wall_mm=1.5))
    body, lungs, spine, lung_vessels, nodes, *structures = [(part * grid.scale).astype(np.float32) for part in parts]
    return Anatomy(body, lungs, spine, lung_vessels, nodes, tuple(structures))


def _veins(space: Field, center: Vector, tilt: Field, rng: np.random.Generator) -> Field:
    """Three to five thin curved tubes that leave the organ sideways; they taper and end somewhere in the lungs."""
    directions = [_vector(*direction) for direction in VEINS]
    if rng.random() < 0.35:
        directions[int(rng.integers(4))] = _vector(rng.choice([-1, 1]), 0.6, 0)
    if rng.random() < 0.35:
        directions.append(_vector(rng.choice([-1, 1]), 0.5, 0.05))
    found = np.full(space.shape[1:], FAR_MM, np.float32)
    for direction in directions:
        aim = tilt.T @ (direction + rng.normal(0, 0.16, 3))
        aim /= np.linalg.norm(aim)
        start = center + aim * 9
        length = rng.uniform(17, 28)
        bend = rng.normal(0, 4, 3)
        path = [start + aim * (length * t) + bend * t**2 for t in np.linspace(0, 1, 8)]
        found = np.minimum(found, _tube(space, path, (rng.uniform(3.6, 4.8), rng.uniform(1.9, 2.8))))
    return found


def _neighbors(space: Field, center: Vector, tilt: Field, rng: np.random.Generator) -> tuple[Field, ...]:
    """The other blood-filled structures, in the order of ``STRUCTURES``."""
    def near(x: float, y: float, z: float) -> Vector:
        return center + _vector(x, y, z) + _vector(rng.normal(0, 1.5, 3))

    ventricle = _ellipsoid(space, near(9, -24, -15), _vector(16, 14, 21) * rng.uniform(0.9, 1.1), tilt)
    right = _ellipsoid(space, near(-24, -15, -4), _vector(11, 13, 16) * rng.uniform(0.85, 1.15), tilt)
    low, middle, high = near(9, 22, -90), near(8, 21, 0), near(4, 14, 90)
    aorta = _tube(space, [low, near(9, 21, -30), middle, near(8, 20, 30), high], (6.5, 6.5))
    outflow = _tube(space, [near(3, -19, -6), near(-4, -16, 14), near(-7, -13, 30), near(-6, -12, 90)], (7, 7.5))
    return ventricle, aorta, right, outflow


def _lung_vessels(space: Field, rng: np.random.Generator) -> Field:
    """Thin vessels that look like the organ's veins and belong to nothing."""
    found = np.full(space.shape[1:], FAR_MM, np.float32)
    for _ in range(int(rng.integers(7, 11))):
        side = rng.choice([-1, 1])
        start = _vector(side * rng.uniform(20, 26), rng.uniform(-8, 22), rng.uniform(-30, 34))
        aim = _vector(side * rng.uniform(0.6, 1), rng.normal(0, 0.6), rng.normal(0, 0.8))
        path = [start + aim * t + rng.normal(0, 0.6, 3) for t in np.linspace(0, rng.uniform(14, 26), 5)]
        found = np.minimum(found, _tube(space, path, (rng.uniform(2, 3.4), rng.uniform(1.2, 2))))
    return found


def _nodes(space: Field, rng: np.random.Generator) -> Field:
    """A few small bright blobs between the lungs."""
    found = np.full(space.shape[1:], FAR_MM, np.float32)
    for _ in range(int(rng.integers(3, 7))):
        middle = _vector(rng.uniform(-20, 20), rng.uniform(-30, 26), rng.uniform(-45, 45))
        semi = _vector(rng.uniform(2.5, 6, 3))
        box = _box_around(space, middle - semi, middle + semi)
        found[box] = np.minimum(found[box], _ellipsoid(space[(slice(None), *box)], middle, semi))
    return found


def _keep_apart(shapes: tuple[Field, ...], wall_mm: float) -> list[Field]:
    """Cut each shape back to ``wall_mm`` from every shape before it."""
    apart: list[Field] = []
    for shape in shapes:
        for earlier in apart:
            shape = np.maximum(shape, wall_mm - earlier)
        apart.append(shape)
    return apart


def _ellipsoid(space: Field, center: object, semi: object, rotation: Field | None = None) -> Field:
    """Signed distance (first order) to an ellipsoid; exact enough near its surface."""
    offset = space - _vector(center)[:, None, None, None]
    if rotation is not None:
        offset = np.tensordot(rotation, offset, axes=1)
    radii = _vector(semi)[:, None, None, None]
    level = np.sqrt(np.sum((offset / radii) ** 2, axis=0))
    slope = np.sqrt(np.sum((offset / radii**2) ** 2, axis=0))
    return np.asarray(level * (level - 1) / np.maximum(slope, 1e-3))


def _superellipse(space: Field, semi: tuple[float, float]) -> Field:
    """Signed distance (first order) to an endless cylinder with a rounded-rectangle section."""
    x, y = np.abs(space[0]) / semi[0], np.abs(space[1]) / semi[1]
    return np.asarray(((x**2.6 + y**2.6) ** np.float32(1 / 2.6) - 1) * min(semi))


def _tube(space: Field, path: list[Vector], radii: tuple[float, float]) -> Field:
    """Signed distance to a bent tube whose radius goes from the first to the last value, with round ends."""
    found = np.full(space.shape[1:], FAR_MM, np.float32)
    widths = np.linspace(radii[0], radii[1], len(path))
    for begin, end, width, next_width in zip(path, path[1:], widths, widths[1:], strict=False):
        reach = max(radii)
        box = _box_around(space, np.minimum(begin, end) - reach, np.maximum(begin, end) + reach)
        along = (end - begin).astype(np.float32)
        offset = space[(slice(None), *box)] - begin.astype(np.float32)[:, None, None, None]
        share = np.clip(np.tensordot(along, offset, axes=1) / float(along @ along), 0, 1)
        distance = np.sqrt(sum((offset[axis] - share * along[axis]) ** 2 for axis in range(3)))
        found[box] = np.minimum(found[box], distance - (width + share * (next_width - width)))
    return found


def _box_around(space: Field, low: Vector, high: Vector) -> tuple[slice, slice, slice]:
    """A box of voxels that holds every point of the bent space within ``NEAR_MM`` of ``low .. high``."""
    step = 3
    sample = space[:, ::step, ::step, ::step]
    bounds = zip(sample, low - NEAR_MM, high + NEAR_MM, strict=True)
    inside = np.logical_and.reduce([(axis >= least) & (axis <= most) for axis, least, most in bounds])
    box = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        low_high = (found[0] * step - step, found[-1] * step + step + 1) if len(found) else (0, 0)
        box.append(slice(max(low_high[0], 0), low_high[1]))
    return box[0], box[1], box[2]


def _rotation(degrees: Vector) -> Field:
    """Rotation matrix from three small angles about the axes, in degrees."""
    a, b, c = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float32)


def _vector(*values: object) -> Vector:
    """A float32 3-vector from three numbers or from one sequence."""
    return np.asarray(values[0] if len(values) == 1 else values, dtype=np.float32)
