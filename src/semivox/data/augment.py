"""Weak augmentation: quarter turns, a flip and a random crop, drawn first and then applied to image and label alike.

The result is that of turning, flipping, zero-padding and cropping the whole scan, in this order. Only the voxels of
the patch are read, though: the box is mapped back to the scan's own axes, so a memory-mapped scan costs a patch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from semivox.errors import UsageError, did_you_mean
from semivox.imaging.plan import Intensity

Kind = Literal["weak", "crop", "strong"]
KINDS: tuple[str, ...] = get_args(Kind)
SPACE = 3
PADDING_MARGIN = 3


class Augmentation(NamedTuple):
    """How a training patch is taken from a scan."""

    patch: tuple[int, int, int]
    """Sides of the patch in voxels; the last is 1 when ``dimensions`` is 2."""
    dimensions: int = 3
    """3, or 2 for slices along the last axis."""
    kind: Kind = "weak"
    """``weak``: turn, flip and crop; ``crop``: crop alone; ``strong``: ``weak``, then intensities changed as well."""
    foreground_fraction: float = 0.0
    """Share of the labeled samples, 0..1, whose crop is placed around a foreground voxel."""
    intensity: Intensity = "stored"
    """``minmax``: the whole scan is scaled to 0..1, channel by channel, before anything else."""


class Turn(NamedTuple):
    """A symmetry of the plane of the first two axes: quarter turns, then a flip."""

    quarters: int
    """Rotations by 90 degrees (as ``numpy.rot90`` on the first two axes), 0..3."""
    flip_axis: int | None
    """0, 1, or None for no flip."""


class View(NamedTuple):
    """Where a patch lies: ``start`` counts in the turned scan and is negative where the patch begins in padding."""

    turn: Turn
    start: tuple[int, ...]


IDENTITY = Turn(0, None)


def draw_weak(rng: np.random.Generator) -> Turn:
    """Draw 0..3 quarter turns and a flip along axis 0 or 1 (one of them always), all equally likely."""
    return Turn(int(rng.integers(4)), int(rng.integers(2)))


def draw_crop(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    rng: np.random.Generator,
    *,
    dimensions: int = 3,
    center: tuple[int, ...] | None = None,
) -> tuple[int, ...]:
    """Draw the first voxel of a crop of the (turned) scan, uniformly over all positions inside the padded scan.

    Args:
        shape: sides of the turned scan (X, Y, Z).
        patch: sides of the crop.
        rng: source of randomness.
        dimensions: 3, or 2: then the slice is uniform over the last axis and only the plane is padded.
        center: voxel of the turned scan to place the crop around, off its middle by up to a quarter of the patch.

    Returns:
        The start along each axis; negative where the crop begins in the padding.
    """
    margins = padding(shape, patch, dimensions=dimensions)
    lows = [-margin for margin in margins]
    highs = [side + margin - size for side, size, margin in zip(shape, patch, margins, strict=True)]
    if center is None:
        return tuple(int(rng.integers(low, high + 1)) for low, high in zip(lows, highs, strict=True))
    jitters = [int(rng.integers(-(size // 4), size // 4 + 1)) for size in patch]
    wanted = [at - size // 2 + jitter for at, size, jitter in zip(center, patch, jitters, strict=True)]
    return tuple(min(max(start, low), high) for start, low, high in zip(wanted, lows, highs, strict=True))


def draw_view(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    how: Augmentation,
    *,
    foreground: np.ndarray | None = None,
) -> View:
    """Draw the turn and the crop of one sample.

    Args:
        shape: sides of the scan as it is stored (X, Y, Z).
        rng: source of randomness.
        how: patch and kind of augmentation.
        foreground: (n, 4) rows (class, x, y, z) of a case whose label is seen: with probability
            ``how.foreground_fraction`` the crop is placed around one of them, each class equally likely.
    """
    turn = IDENTITY if how.kind == "crop" else draw_weak(rng)
    center = None
    if foreground is not None and len(foreground) > 0 and rng.random() < how.foreground_fraction:
        center = turned_position(_draw_position(foreground, rng), shape, turn)
    start = draw_crop(turned_shape(shape, turn), how.patch, rng, dimensions=how.dimensions, center=center)
    return View(turn, start)


def cut(array: np.ndarray, view: View, patch: tuple[int, ...], *, out: np.ndarray | None = None,
        fill: np.ndarray | float = 0.0) -> np.ndarray:
    """Read one patch: equal to turning, flipping and padding the whole array, then cropping it.

    Args:
        array: (..., X, Y, Z), possibly memory-mapped; only the patch is read.
        view: what to read.
        patch: sides of the patch.
        out: (..., *patch) array to fill (converted to its type), for a copy straight into a batch.
        fill: value of the padding, one for all or (C, 1, 1, 1).

    Returns:
        ``out``, or a new contiguous array (..., *patch) of the array's type.
    """
    shape = turned_shape(array.shape[-SPACE:], view.turn)
    # A tiny patch can lie wholly in the padding: the box then is empty.
    lows = [min(max(start, 0), side) for start, side in zip(view.start, shape, strict=True)]
    ends = [start + size for start, size in zip(view.start, patch, strict=True)]
    highs = [min(max(end, 0), side) for end, side in zip(ends, shape, strict=True)]
    x, y, z = _source_box(lows, highs, shape, view.turn)
    block = _turn(array[..., x, y, z], view.turn)
    x, y, z = (slice(low - at, high - at) for low, high, at in zip(lows, highs, view.start, strict=True))
    if out is None:
        out = np.empty((*array.shape[:-SPACE], *patch), array.dtype)
    if block.shape[-SPACE:] != tuple(patch):
        out[...] = fill
    out[..., x, y, z] = block
    return out


def padding(shape: tuple[int, ...], patch: tuple[int, ...], *, dimensions: int = 3) -> tuple[int, ...]:
    """Return how many zeros each side gets on both ends before the crop.

    If any side is at most the patch's: ``max((P - s) // 2 + 3, 0)`` on every side, otherwise none (UA-MT's rule).
    The slice axis of 2D patches is never padded.
    """
    sides = list(zip(shape, patch, strict=True))[:dimensions]
    if all(side > size for side, size in sides):
        return (0,) * len(shape)
    margins = [max((size - side) // 2 + PADDING_MARGIN, 0) for side, size in sides]
    return (*margins, *(0 for _ in range(len(shape) - dimensions)))


def turned_shape(shape: tuple[int, ...], turn: Turn) -> tuple[int, ...]:
    """Return the sides after the turn: an odd number of quarter turns swaps the first two."""
    return (shape[1], shape[0], *shape[2:]) if turn.quarters % 2 else tuple(shape)


def turned_position(position: tuple[int, ...], shape: tuple[int, ...], turn: Turn) -> tuple[int, ...]:
    """Return where a voxel of the scan lies after the turn."""
    x, y, *rest = position
    size_x, size_y = shape[:2]
    for _ in range(turn.quarters):
        x, y = size_y - 1 - y, x
        size_x, size_y = size_y, size_x
    if turn.flip_axis == 0:
        x = size_x - 1 - x
    elif turn.flip_axis == 1:
        y = size_y - 1 - y
    return (x, y, *rest)


def require_kind(kind: str) -> None:
    """Refuse an unknown kind of augmentation.

    Raises:
        UsageError: with the nearest legal name.
    """
    if kind not in KINDS:
        raise UsageError("C1", "augmentation", f"unknown kind '{kind}'", did_you_mean(kind, KINDS))


def _turn(array: np.ndarray, turn: Turn) -> np.ndarray:
    """A view of the array (..., X, Y, Z), turned and flipped."""
    turned = np.rot90(array, turn.quarters, axes=(-3, -2))
    return turned if turn.flip_axis is None else np.flip(turned, turn.flip_axis - SPACE)


def _source_box(lows: list[int], highs: list[int], shape: tuple[int, ...], turn: Turn) -> tuple[slice, ...]:
    """The box of the scan as stored that becomes ``lows .. highs`` of the turned scan with sides ``shape``."""
    boxes = list(zip(lows, highs, strict=True))
    sides = list(shape)
    if turn.flip_axis is not None:
        boxes[turn.flip_axis] = _reverse(boxes[turn.flip_axis], sides[turn.flip_axis])
    for _ in range(turn.quarters):
        # One quarter turn is out[i, j] = source[j, sides[0] - 1 - i].
        boxes[0], boxes[1] = boxes[1], _reverse(boxes[0], sides[0])
        sides[0], sides[1] = sides[1], sides[0]
    return tuple(slice(low, high) for low, high in boxes)


def _reverse(box: tuple[int, int], side: int) -> tuple[int, int]:
    return side - box[1], side - box[0]


def _draw_position(foreground: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """A foreground voxel: first a class that is present, then one of its positions."""
    classes = np.unique(foreground[:, 0])
    rows = foreground[foreground[:, 0] == classes[rng.integers(len(classes))]]
    return tuple(int(value) for value in rows[rng.integers(len(rows)), 1:])
