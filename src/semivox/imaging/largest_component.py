"""The largest connected component of each class: what the papers call non-maximum suppression."""

from __future__ import annotations

import cc3d
import numpy as np


def largest_component(labels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Keep, of each foreground class, the connected component with most voxels; the rest becomes background.

    Voxels of a class are connected when they touch, at a corner too (26 neighbors in 3D, 8 in 2D). Of equally large
    components the one whose first voxel comes first in C order stays, as with ``skimage.measure.label`` and
    ``argmax``. Nothing is ever added, a class that is absent stays absent, a second call changes nothing.

    Args:
        labels: (X, Y) or (X, Y, Z) integers 0..K-1, 0 is the background; not changed.
        out: zeros of the same shape that the result is written into.

    Returns:
        ``out``, or a new array of the same shape and type.
    """
    kept = np.zeros_like(labels) if out is None else out
    region = _bounding_box(labels != 0)
    if region is None:
        return kept
    part = np.ascontiguousarray(labels[region])
    # one pass for all classes: neighbors of different value are not connected; numbered in C order of first voxels
    components = cc3d.connected_components(part, connectivity=8 if labels.ndim == 2 else 26)
    value_of = _values_of_largest(components.ravel(), part.ravel())
    chosen = np.flatnonzero(value_of)
    if len(chosen) == 1:
        np.multiply(components == chosen[0], value_of[chosen[0]], out=kept[region], casting="unsafe")
    else:
        kept[region] = value_of[components]
    return kept


def _values_of_largest(components: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class of each component by its number if it is the largest of its class, else 0.

    Counted by runs of equal number: a scan has few of them, and counting every voxel takes longer than finding the
    components.
    """
    starts = np.concatenate(([0], np.flatnonzero(components[1:] != components[:-1]) + 1))
    lengths = np.diff(starts, append=components.size)
    numbers, values = components[starts], labels[starts]
    voxels = np.bincount(numbers, weights=lengths)
    classes = np.zeros(voxels.size, labels.dtype)
    classes[numbers] = values
    largest = np.zeros_like(classes)
    for value in np.unique(values[values != 0]):
        largest[np.where(classes == value, voxels, 0).argmax()] = value
    return largest


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest region that holds every True; None without any. Most of a scan is background: labeling pays."""
    rows = np.bitwise_or.reduce(mask, axis=-2)  # of bytes, along an axis that is not the last: the fast way
    last = np.bitwise_or.reduce(rows, axis=0) if mask.ndim == 3 else rows
    first = [rows.any(axis=1), np.bitwise_or.reduce(mask, axis=0).any(axis=1)] if mask.ndim == 3 else [mask.any(axis=1)]
    along = [np.flatnonzero(found) for found in (*first, last)]
    if not along[0].size:
        return None
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in along)
