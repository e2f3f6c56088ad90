"""One case from files to network input; the same for preparing a data set and for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry, Orientation, max_corner_distance_mm, rounding_mm, to_lps
from semivox.imaging.normalize import normalize
from semivox.imaging.plan import Plan
from semivox.imaging.resample import resample_image, resample_label, shape_for_spacing

ANISOTROPY = 3.0
"""From this ratio of spacings on, the coarsest axis is interpolated linearly (nnU-Net's threshold)."""


class Prepared(NamedTuple):
    """One case on the plan's grid."""

    image: NDArray[np.float32]
    """(C, X, Y, Z), C-contiguous unless ``reuse`` was asked for."""
    label: NDArray | None
    """(X, Y, Z) uint8 or uint16."""
    orientation: Orientation
    """Its ``undo`` brings arrays of ``lps_shape`` to the axis order of the file."""
    source_shape: tuple[int, ...]
    """Shape of the scan in its file."""
    lps_shape: tuple[int, ...]
    """Shape after turning to LPS, before resampling."""
    geometry: Geometry
    """Of the scan in its file."""


def prepare_case(scans: Sequence[Scan], label: Scan | None, plan: Plan, *, case: str = "case",
                 reuse: bool = False) -> Prepared:
    """Turn to LPS, resample to the plan's spacing and normalize each channel.

    Args:
        scans: one scan for each channel of the plan.
        label: label map on the grid of the scans, if there is one.
        plan: the data set's plan.
        case: name used in errors.
        reuse: normalize a single channel in the memory of its scan, which is spoiled; the image is then in any
            memory order, and only one volume is held.

    Raises:
        InputError: D5 wrong number of channels, I26 shapes differ, I27 geometries differ, I31 a label value is not
            declared in the plan.
    """
    check_case(scans, label, plan, case=case)
    first = scans[0]
    turned, geometry, orientation = to_lps(first.array, first.geometry)
    shape = _target_shape(turned.shape, geometry, plan)
    axis = anisotropic_axis(geometry.spacing_mm, plan.spacing_mm)
    image: NDArray[np.float32] | None = None
    for index, (scan, channel) in enumerate(zip(scans, plan.channels, strict=True)):
        values = resample_image(orientation.apply(scan.array), shape, anisotropic_axis=axis)
        if image is None:
            # A resampled scan has memory of its own: if it is the only channel, it becomes the result.
            ours = len(scans) == 1 and (reuse or (shape != turned.shape and values.flags.c_contiguous))
            image = values[None] if ours else np.empty((len(scans), *shape), dtype=np.float32)
        normalize(values, channel, out=image[index])
    assert image is not None
    mask = None if label is None else prepare_label(label, first.geometry, plan)
    return Prepared(image, mask, orientation, first.array.shape, turned.shape, first.geometry)


def check_case(scans: Sequence[Scan], label: Scan | None, plan: Plan, *, case: str = "case") -> None:
    """Refuse a case that does not fit the plan, or whose files do not fit together; as ``prepare_case``."""
    if len(scans) != len(plan.channels):
        raise InputError("D5", case, f"{len(scans)} image channels, the plan has {len(plan.channels)}"
                         f" ({', '.join(channel.name for channel in plan.channels)})", "give one file per channel")
    first = scans[0]
    for index, scan in enumerate(scans[1:], start=1):
        check_same_grid(first, scan, subject=case, what=f"channel {index}")
    if label is not None:
        check_same_grid(first, label, subject=case, what="the label")
        _check_classes(label.array, plan, case)


def prepare_label(label: Scan, geometry: Geometry, plan: Plan) -> NDArray:
    """Turn a checked label map to LPS and resample it to the plan's spacing.

    Args:
        label: of the case.
        geometry: of the case's first scan, which decides where the two differ by rounding.
        plan: the data set's plan.

    Returns:
        (X, Y, Z) uint8 or uint16, C-contiguous.
    """
    turned, lps, _ = to_lps(label.array, geometry)
    return np.ascontiguousarray(resample_label(turned, _target_shape(turned.shape, lps, plan), plan.classes))


def check_same_grid(scan: Scan, other: Scan, *, subject: str, what: str = "label") -> None:
    """Refuse a label or channel that does not lie on the grid of the first scan.

    Rounding differences (below 0.001 mm, or 1 % of the smallest spacing if that is larger) are accepted.

    Raises:
        InputError: I26 with both shapes, I27 with the largest corner distance in mm.
    """
    if scan.array.shape != other.array.shape:
        raise InputError("I26", subject, f"{what} has shape {_by(other.array.shape)}, the image has"
                         f" {_by(scan.array.shape)}", f"resample {what} to the grid of the image, or replace it")
    distance = max_corner_distance_mm(scan.geometry, other.geometry, scan.array.shape)
    allowed = rounding_mm(scan.geometry)
    if distance > allowed:
        raise InputError("I27", subject, f"{what} and image lie apart in space: corners differ by up to"
                         f" {distance:.3g} mm, allowed are {allowed:.3g} mm",
                         f"resample {what} to the image's grid, or copy the image's geometry if the voxels match")


def anisotropic_axis(spacing_mm: Sequence[float], target_mm: Sequence[float] | None) -> int | None:
    """The axis with thick slices (of the scan, else of the target), or None when spacings are alike."""
    for spacing in (spacing_mm, target_mm):
        if spacing is not None and max(spacing) / min(spacing) > ANISOTROPY:
            return int(np.argmax(spacing))
    return None


def _target_shape(shape: tuple[int, ...], geometry: Geometry, plan: Plan) -> tuple[int, ...]:
    if plan.spacing_mm is None or not geometry.spacing_known:
        return shape
    return shape_for_spacing(shape, geometry.spacing_mm, plan.spacing_mm)


def _check_classes(labels: NDArray, plan: Plan, case: str) -> None:
    if int(labels.max()) < plan.classes:
        return
    values, counts = np.unique(labels[labels >= plan.classes], return_counts=True)
    listing = ", ".join(f"{value} ({count:,} voxels)" for value, count in zip(values[:8], counts[:8], strict=True))
    raise InputError("I31", case, f"label holds values that are not declared: {listing}; declared are"
                     f" 0..{plan.classes - 1}", "declare the classes in dataset.json, or map the values")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
