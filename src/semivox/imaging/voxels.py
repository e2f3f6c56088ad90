"""From stored voxels to float32 images and integer labels, plane by plane so that no large copy is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.imaging.layout import EXPORT_AGAIN, Layout

ROUNDING = 1e-3
"""Float labels this near to a whole number are rounded (programs that save labels as float do that)."""
MAX_LABEL = 65535
INTERPOLATED_SHARE = 1e-3
"""From this share of the non-zero voxels on, fractional values come from interpolation."""


def to_float32(path: Path, voxels: NDArray, layout: Layout) -> NDArray[np.float32]:
    """Scale and convert stored voxels.

    Raises:
        InputError: I13 scaling overflows float32, I18 NaN or infinite voxels with their number.
    """
    table = _table(voxels.dtype, layout)
    if voxels.dtype == np.float32 and (layout.slope, layout.intercept) == (1.0, 0.0):
        image = voxels  # checked where it is
    else:
        image = np.empty(voxels.shape, dtype=np.float32, order="F")
    nan = infinite = overflow = 0
    for plane in range(voxels.shape[-1]):
        stored = voxels[..., plane]
        if table is not None:
            image[..., plane] = table[stored.view(np.uint8)]
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            image[..., plane] = _scaled(stored, layout)
            finite = bool(np.isfinite(image[..., plane].sum(dtype=np.float64)))
        if not finite:
            bad = ~np.isfinite(image[..., plane])
            nan += int(np.isnan(stored[bad]).sum())
            infinite += int(np.isinf(stored[bad]).sum())
            overflow += int(np.isfinite(stored[bad]).sum())
    _refuse_not_finite(path, nan, infinite, total=image.size)
    if overflow:
        raise InputError("I13", path, f"{overflow:,} voxels are beyond the range of float32 (scl_slope"
                         f" {layout.slope:g}, scl_inter {layout.intercept:g})", EXPORT_AGAIN)
    return image


def to_labels(path: Path, voxels: NDArray, layout: Layout) -> tuple[NDArray, tuple[str, ...]]:
    """Convert stored voxels to uint8 or uint16, with a note when values were rounded.

    Raises:
        InputError: I18 NaN or infinite, I30 or I33 not whole numbers, I31 out of range.
    """
    if np.issubdtype(voxels.dtype, np.integer) and (layout.slope, layout.intercept) == (1.0, 0.0):
        low, high = int(voxels.min()), int(voxels.max())
        _check_range(path, low, high)
        return voxels.astype(_label_type(high), copy=False), ()
    labels = np.empty(voxels.shape, dtype=np.uint16, order="F")
    low, high = MAX_LABEL, 0
    nan = infinite = fractional = nonzero = inexact = 0
    for plane in range(voxels.shape[-1]):
        values = _scaled(voxels[..., plane], layout).astype(np.float64)
        nan += int(np.isnan(values).sum())
        infinite += int(np.isinf(values).sum())
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        whole = np.rint(values)
        distance = np.abs(values - whole)
        fractional += int((distance >= ROUNDING).sum())
        inexact += int((distance > 0).sum())
        nonzero += int((values != 0).sum())
        low, high = min(low, int(whole.min())), max(high, int(whole.max()))
        labels[..., plane] = np.clip(whole, 0, MAX_LABEL)
    _refuse_not_finite(path, nan, infinite, total=labels.size)
    if fractional:
        _refuse_fractional(path, fractional, nonzero)
    _check_range(path, low, high)
    notes = (f"{inexact:,} label values were rounded to whole numbers",) if inexact else ()
    return labels.astype(_label_type(high)), notes


def _scaled(stored: NDArray, layout: Layout) -> NDArray:
    """Voxel values of one plane, in float64 where scaling or large integers ask for it."""
    if (layout.slope, layout.intercept) == (1.0, 0.0):
        return stored
    return stored.astype(np.float64) * layout.slope + layout.intercept


def _table(dtype: np.dtype, layout: Layout) -> NDArray[np.float32] | None:
    """The float32 value of each byte for 8-bit voxels; None for others, and where one is not finite."""
    if dtype.itemsize != 1:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        table = _scaled(np.arange(256, dtype=np.uint8).view(dtype), layout).astype(np.float32)
    return table if np.isfinite(table).all() else None


def _label_type(largest: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if largest < 256 else np.uint16


def _check_range(path: Path, low: int, high: int) -> None:
    if low < 0 or high > MAX_LABEL:
        found = f"{float(low if low < 0 else high):.15g}"
        raise InputError("I31", path, f"label holds the value {found}, expected 0..{MAX_LABEL}",
                         "map the values to 0 (background), 1, 2, ... and save the label again")


def _refuse_not_finite(path: Path, nan: int, infinite: int, *, total: int) -> None:
    if nan or infinite:
        share = 100 * (nan + infinite) / total
        raise InputError("I18", path, f"{nan:,} voxels are NaN and {infinite:,} infinite ({share:.3g} %)",
                         "replace them by the value of air or background and save the file again")


def _refuse_fractional(path: Path, fractional: int, nonzero: int) -> None:
    share = 100 * fractional / max(nonzero, 1)
    if fractional > INTERPOLATED_SHARE * nonzero and fractional > 10:
        raise InputError("I33", path, f"label looks linearly interpolated: {fractional:,} values ({share:.3g} % of the"
                         " foreground) are not whole numbers", "resample the original label with nearest neighbor")
    raise InputError("I30", path, f"label holds {fractional:,} values that are not whole numbers ({share:.3g} % of the"
                     " foreground)", "save the label with an integer type")
