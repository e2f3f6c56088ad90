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
        labels: (X, Y) or (X, Y, Z) integers 0..K-1 (K up to 65,536), 0 is the background; not changed.
        out: array of the same shape and type for the result, another one than ``labels``.

    Returns:
        ``out``, or a new array of the same shape and type.
    """
    kept = np.empty_like(labels) if out is None else out
    kept.fill(0)
    narrow = labels.astype(np.uint16) if labels.itemsize > 2 else labels  # less to read in all that follows
    region = _bounding_box(narrow)
    if region is None:
        return kept
    part = np.ascontiguousarray(narrow[region])
    # one pass for all classes: neighbors of different value are not connected; numbered in C order of first voxels
    components = cc3d.connected_components(part, connectivity=8 if labels.ndim == 2 else 26)
    largest = _largest_of_classes(components.ravel(), part.ravel())
    if len(largest) == 1:
        stays = components == largest[0]
    else:
        chosen = np.zeros(int(components.max()) + 1, bool)
        chosen[largest] = True
        stays = chosen[components]
    np.multiply(part, stays, out=kept[region], casting="unsafe")
    return kept


def _largest_of_classes(components: np.ndarray, labels: np.ndarray) -> list[int]:
    """The number of the largest component of each class that is there.

    Counted by runs of equal number: a scan has few of them, and counting every voxel takes longer than finding the
    components.
    """
    starts = np.concatenate(([0], np.flatnonzero(components[1:] != components[:-1]) + 1))
    numbers = components[starts]
    voxels = np.bincount(numbers, weights=np.diff(starts, append=components.size))
    class_of = np.zeros(voxels.size, labels.dtype)
    class_of[numbers] = labels[starts]
    present = np.unique(class_of[1:])
    return [int(np.where(class_of == value, voxels, 0).argmax()) for value in present]


def _bounding_box(labels: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest region that holds all foreground; None without any. Most of a scan is background: labeling pays."""
    plane = np.bitwise_or.reduce(labels != 0, axis=0)  # along the first axis: the way NumPy is fastest at
    rest = [plane.any(axis=1), plane.any(axis=0)] if labels.ndim == 3 else [plane]
    along = [np.flatnonzero(found) for found in rest]
    if not along[0].size:
        return None
    first, last = 0, len(labels)
    while not labels[first].any():
        first += 1
    while not labels[last - 1].any():
        last -= 1
    return (slice(first, last), *(slice(int(found[0]), int(found[-1]) + 1) for found in along))
