"""What a file's header promises, and the checks that every format shares. No voxel is read here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.imaging.geometry import Geometry

LIMIT_GB = 8.0
"""Scans that need more memory than this are refused before anything is allocated."""
MIN_SPACING_MM, MAX_SPACING_MM = 1e-5, 1e4
MAX_SHEAR = 1e-3
MAX_ORIGIN_MM = 1e7
EXPORT_AGAIN = "export the scan again from where it came"


class Layout(NamedTuple):
    """Where the voxels of a file are and how they are stored."""

    shape: tuple[int, ...]
    """(X, Y, Z), trailing axes of size 1 removed. The first axis runs fastest in the file."""
    geometry: Geometry
    dtype: np.dtype
    """Of a stored voxel, byte order included."""
    start: int
    """File position where the (possibly compressed) stream begins."""
    skip: int
    """Decoded bytes of that stream before the first voxel."""
    compression: Literal["none", "gzip", "zlib"]
    slope: float = 1.0
    intercept: float = 0.0
    """Voxel value = stored value * slope + intercept."""
    stored_bytes: int | None = None
    """Length of the compressed stream, where the header declares it."""
    notes: tuple[str, ...] = ()
    """What a person may want to know; nothing that has to be repaired."""

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def voxel_bytes(self) -> int:
        """Decoded size of the voxels in bytes."""
        return self.voxels * self.dtype.itemsize


def checked_shape(path: Path, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Reduce the declared sizes to (X, Y, Z), with a note where axes of size 1 were removed.

    Raises:
        InputError: I6 zero, negative or too many dimensions; I16 a real fourth axis; I17 flat scans.
    """
    listing = " x ".join(str(size) for size in sizes)
    if not 1 <= len(sizes) <= 7:
        raise InputError("I6", path, f"header declares {len(sizes)} dimensions, expected 3", EXPORT_AGAIN)
    if any(size < 1 for size in sizes):
        raise InputError("I6", path, f"header declares the shape {listing}, every size must be at least 1",
                         EXPORT_AGAIN)
    if any(size > 1 for size in sizes[3:]):
        raise InputError("I16", path, f"shape {listing} has {len(sizes)} dimensions, expected one 3D volume",
                         "save each volume or channel as a file of its own (name_0000, name_0001, ...)")
    if len(sizes) < 3 or min(sizes[:3]) < 2:
        raise InputError("I17", path, f"shape {listing} is a single slice, each of the 3 axes needs at least 2 voxels",
                         "stack the slices of the scan into one volume, or remove the file")
    notes = (f"trailing axes of size 1 were removed from {listing}",) if len(sizes) > 3 else ()
    return tuple(int(size) for size in sizes[:3]), notes


def check_budget(path: Path, shape: Sequence[int], dtype: np.dtype, limit_gb: float) -> None:
    """Refuse a scan that needs more memory than the limit, from its header alone.

    Raises:
        InputError: I7 with the size found and the limit.
    """
    need_gb = min(math.prod(shape) * max(dtype.itemsize, 4), 10**30) / 1e9
    if need_gb > limit_gb:
        listing = " x ".join(str(size) for size in shape)
        raise InputError("I7", path, f"shape {listing} would need {need_gb:,.1f} GB; the limit is {limit_gb:g} GB",
                         "if the header is right, crop or downsample the scan below the limit; if not, export it again")


def check_spacing(path: Path, spacing_mm: Sequence[float], *, key: str) -> None:
    """Refuse spacings that no scanner has; ``key`` is the header field they come from.

    Raises:
        InputError: I8 for zero (libraries silently put 1 there), I9 for anything else.
    """
    fix = f"write the true voxel size in mm into {key} and save the file again"
    for value in spacing_mm:
        if value == 0:
            raise InputError("I8", path, f"{key} holds the spacing 0, expected a size in mm", fix)
        if not MIN_SPACING_MM <= value <= MAX_SPACING_MM:
            raise InputError("I9", path, f"{key} holds the spacing {value:g} mm, expected {MIN_SPACING_MM:g} to"
                             f" {MAX_SPACING_MM:g}", fix)


def check_affine(path: Path, affine: NDArray[np.float64], *, key: str) -> None:
    """Refuse matrices that are no rotated grid; ``key`` is the header field they come from.

    Raises:
        InputError: I10 NaN, infinite, singular or sheared; I9 with columns of impossible length.
    """
    if not np.isfinite(affine).all():
        raise InputError("I10", path, f"{key} holds NaN or infinity, expected finite numbers", EXPORT_AGAIN)
    with np.errstate(over="ignore"):
        lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise InputError("I10", path, f"{key} is singular: an axis has length {lengths.min():g} mm", EXPORT_AGAIN)
    check_spacing(path, lengths.tolist(), key=key)
    unit = affine[:3, :3] / lengths
    shear = float(np.abs(unit.T @ unit - np.eye(3)).max())
    if shear > MAX_SHEAR:
        what = "is singular" if abs(np.linalg.det(unit)) < 1e-6 else "is sheared"
        raise InputError("I10", path, f"{key} {what}: cosine {shear:.2g} between its axes, allowed is {MAX_SHEAR:g}",
                         "resample the scan to a grid with right angles (for example in 3D Slicer)")
    farthest = float(np.abs(affine[:3, 3]).max())
    if farthest > MAX_ORIGIN_MM:
        raise InputError("I10", path, f"{key} puts the first voxel {farthest:g} mm away, allowed are"
                         f" {MAX_ORIGIN_MM:g}", EXPORT_AGAIN)
