"""The largest connected component of each class: what the papers call non-maximum suppression."""

from __future__ import annotations

import cc3d
import numpy as np


def largest_component(labels: np.ndarray) -> np.ndarray:
    """Keep, of each foreground class, the connected component with most voxels; the rest becomes background.

    Voxels of a class are connected when they touch, at a corner too (26 neighbors in 3D, 8 in 2D). Of equally large
    components the one whose first voxel comes first in C order stays, as with ``skimage.measure.label`` and
    ``argmax``. Nothing is ever added, a class that is absent stays absent, a second call changes nothing.

    Args:
        labels: (X, Y) or (X, Y, Z) integers 0..K-1, 0 is the background; not changed.

    Returns:
        A new array of the same shape and type.
    """
    kept = np.zeros_like(labels)
    region = _bounding_box(labels != 0)
    if region is None:
        return kept
    part = np.ascontiguousarray(labels[region])
    # one pass for all classes: neighbors of different value are not connected; numbered in C order of first voxels
    components = cc3d.connected_components(part, connectivity=8 if labels.ndim == 2 else 26)
    for value in range(1, int(part.max()) + 1):
        members = components[part == value]
        if members.size:
            kept[region][components == np.bincount(members).argmax()] = value
    return kept


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest region that holds every True; None without any. Most of a scan is background: labeling pays."""
    axes = range(mask.ndim)
    along = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    if not along[0].size:
        return None
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in along)
