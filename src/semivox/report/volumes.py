"""A test case for pictures: scan, reference and every method's prediction, turned to LPS and cut to where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semivox.errors import SemivoxError
from semivox.imaging.files import read_image, read_label
from semivox.imaging.geometry import to_lps

MARGIN = 0.14
"""The box goes beyond all masks by this share of the largest side of the box around them."""


class CaseFiles(NamedTuple):
    """Where the volumes of a case lie."""

    case: str
    scan: Path | None
    """First channel."""
    reference: Path
    predictions: Mapping[str, Path]
    """Label of the row to its label map."""

    @property
    def all_paths(self) -> list[Path]:
        """Every file, for the fingerprint of what is made from them."""
        return [path for path in (self.scan, self.reference, *self.predictions.values()) if path is not None]


class CaseVolumes(NamedTuple):
    """Arrays (X, Y, Z) in LPS order of one box of the case."""

    case: str
    image: np.ndarray | None
    reference: np.ndarray
    predictions: dict[str, np.ndarray]
    """Label of the row to labels on the grid of the reference; those that cannot be read are left out."""
    spacing_mm: tuple[float, float, float]
    oriented: bool
    """Whether the file says how the scan lies in the patient."""
    offset: tuple[int, int, int]
    """First voxel of the box in the whole scan."""
    shape: tuple[int, int, int]
    """Of the whole scan."""


def load_volumes(files: CaseFiles) -> CaseVolumes:
    """Read a case.

    Raises:
        InputError: the reference is missing or damaged.
    """
    found = read_label(files.reference)
    reference, geometry, orientation = to_lps(found.array, found.geometry)
    image = _image(files.scan, found.array.shape)
    predictions = {}
    for label, path in files.predictions.items():
        try:
            labels = read_label(path).array
        except SemivoxError:
            continue  # the row's scores say more than a missing contour
        if labels.shape == found.array.shape:
            predictions[label] = orientation.apply(labels)
    box = box_around([reference, *predictions.values()], geometry.spacing_mm)
    x, y, z = reference.shape
    return CaseVolumes(
        files.case, None if image is None else orientation.apply(image)[box], reference[box],
        {label: labels[box] for label, labels in predictions.items()}, geometry.spacing_mm, geometry.spacing_known,
        (box[0].start, box[1].start, box[2].start), (x, y, z))


def box_around(masks: Sequence[np.ndarray], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """The box around all that is labeled in any mask, with a margin; everything when nothing is."""
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(np.logical_or.reduce([mask.any(axis=others) for mask in masks]))
        bounds.append((int(found[0]), int(found[-1]) + 1) if len(found) else (0, masks[0].shape[axis]))
    margin_mm = MARGIN * max((high - low) * step for (low, high), step in zip(bounds, spacing_mm, strict=True))
    x, y, z = (slice(max(0, low - round(margin_mm / step)), min(size, high + round(margin_mm / step)))
               for (low, high), step, size in zip(bounds, spacing_mm, masks[0].shape, strict=True))
    return x, y, z


def _image(path: Path | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if path is None:
        return None
    try:
        image = read_image(path).array
    except SemivoxError:
        return None  # contours are shown without it
    return image if image.shape == shape else None
