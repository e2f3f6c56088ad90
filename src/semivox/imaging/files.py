"""The one place where image files are read and written.

Arrays are in index order (X, Y, Z); geometry is LPS. Whatever a file has wrong becomes an ``InputError``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.fsio import atomic_file
from semivox.imaging.geometry import Geometry
from semivox.imaging.integrity import (
    ENDINGS,
    IMAGE_ENDINGS,
    check_content,
    is_image_file,
    read_layout,
    split_ending,
    verify_complete,
)
from semivox.imaging.itk import write_itk
from semivox.imaging.layout import LIMIT_GB, Layout
from semivox.imaging.nifti import HEADER_BYTES, channel_header, looks_like_nifti, parse_nifti, write_nifti
from semivox.imaging.payload import read_gzip_prefix, read_prefix, read_voxels
from semivox.imaging.voxels import to_float32, to_labels

__all__ = [
    "ENDINGS",
    "IMAGE_ENDINGS",
    "Header",
    "Scan",
    "count_channels",
    "is_image_file",
    "read_channels",
    "read_header",
    "read_image",
    "read_label",
    "split_ending",
    "verify_complete",
    "write_image",
    "write_label",
]

NIFTI_ENDINGS = (".nii.gz", ".nii")


class Header(NamedTuple):
    """What a file says about itself."""

    shape: tuple[int, ...]
    """(X, Y, Z)."""
    geometry: Geometry
    dtype: str
    """Of a stored voxel, for example ``"int16"``."""
    notes: tuple[str, ...] = ()


class Scan(NamedTuple):
    """A scan in memory."""

    array: NDArray
    """(X, Y, Z): float32 for images, uint8 or uint16 for labels."""
    geometry: Geometry
    notes: tuple[str, ...] = ()
    """What a person may want to know about the file; nothing that has to be repaired."""


def read_header(path: Path, *, limit_gb: float = LIMIT_GB) -> Header:
    """Read shape, geometry and voxel type without reading voxels.

    Args:
        path: a file with one of ``IMAGE_ENDINGS``.
        limit_gb: memory that the scan may need.

    Raises:
        InputError: the file is no scan, or its header is damaged, too large or points to another file.
    """
    layout = read_layout(path, limit_gb=limit_gb)
    return Header(layout.shape, layout.geometry, layout.dtype.name, layout.notes)


def read_image(path: Path, *, limit_gb: float = LIMIT_GB) -> Scan:
    """Read a scan as float32, complete or not at all.

    Raises:
        InputError: every fault that ``verify_complete`` finds, I13 scaling overflows, I18 NaN or infinite voxels.
    """
    layout, voxels, notes = _read(path, limit_gb)
    return Scan(to_float32(path, voxels, layout), layout.geometry, notes)


def count_channels(path: Path) -> int:
    """Length of the fourth axis of a NIfTI file; 1 for a single volume and for other formats.

    Raises:
        InputError: the file is no scan, or its header is damaged.
    """
    header = _nifti_prefix(path)
    return 1 if header is None else channel_header(path, header)[1]


def read_channels(path: Path, *, limit_gb: float = LIMIT_GB) -> list[Scan]:
    """Read a NIfTI file whose fourth axis holds the channels of one case; a 3D file has one.

    Raises:
        InputError: as ``read_image``.
    """
    prefix = _nifti_prefix(path)
    if prefix is None:
        return [read_image(path, limit_gb=limit_gb)]
    header, channels = channel_header(path, prefix)
    compressed = split_ending(path.name)[1] == ".nii.gz"
    layout = parse_nifti(path, header, compressed=compressed, limit_gb=limit_gb / channels)
    x, y, z = layout.shape
    # the first axis runs fastest: in the file, one channel after the other is one volume with more slices
    stacked = layout._replace(shape=(x, y, z * channels))
    voxels, notes = read_voxels(path, stacked)
    image = to_float32(path, voxels, stacked)
    return [Scan(image[..., z * index : z * (index + 1)], layout.geometry, (*layout.notes, *notes))
            for index in range(channels)]


def read_label(path: Path, *, limit_gb: float = LIMIT_GB) -> Scan:
    """Read a label map as uint8, or uint16 when a value is above 255.

    Raises:
        InputError: as ``read_image``, I30 or I33 values that are not whole numbers, I31 negative or above 65535.
    """
    layout, voxels, notes = _read(path, limit_gb)
    labels, rounded = to_labels(path, voxels, layout)
    return Scan(labels, layout.geometry, (*notes, *rounded))


def write_label(path: Path, labels: NDArray, geometry: Geometry, *, like: Path | None = None) -> None:
    """Write a label map as uint8 (uint16 when needed), atomically; the same input gives the same bytes.

    Args:
        path: its ending decides the format.
        labels: (X, Y, Z) integers 0..65535.
        geometry: of the array.
        like: the scan that was segmented. If it is NIfTI too, its sform, qform, their codes, pixdim and units are
            taken over bit for bit (names and comments in it are not).
    """
    largest = int(labels.max(initial=0))
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0 or largest > 65535:
        raise ValueError(f"labels must be integers 0..65535, got {labels.dtype} up to {largest}")
    _write(path, labels.astype(np.uint8 if largest < 256 else np.uint16), geometry, like=like)


def write_image(path: Path, array: NDArray[np.float32], geometry: Geometry, *, like: Path | None = None) -> None:
    """Write a scan as float32, atomically; arguments as in ``write_label``."""
    _write(path, array.astype(np.float32, copy=False), geometry, like=like)


def _read(path: Path, limit_gb: float) -> tuple[Layout, NDArray, tuple[str, ...]]:
    layout = read_layout(path, limit_gb=limit_gb)
    voxels, notes = read_voxels(path, layout)
    return layout, voxels, (*layout.notes, *notes)


def _write(path: Path, array: NDArray, geometry: Geometry, *, like: Path | None) -> None:
    ending = split_ending(path.name)[1]
    if ending not in IMAGE_ENDINGS:
        raise InputError("D2", path, f"cannot write a file with this ending, known are {', '.join(IMAGE_ENDINGS)}",
                         "use .nii.gz")
    with atomic_file(path) as temporary:
        if ending in (".nrrd", ".mha"):
            write_itk(temporary, array, geometry)
        else:
            header = _nifti_header(like, array.shape)
            write_nifti(temporary, array, geometry, like=header, compress=ending == ".nii.gz")


def _nifti_header(like: Path | None, shape: tuple[int, ...]) -> bytes | None:
    """Header bytes of a NIfTI file of the same shape, None for anything else."""
    if like is None or split_ending(like.name)[1] not in NIFTI_ENDINGS:
        return None
    found = read_layout(like, limit_gb=math.inf).shape
    if found != shape:
        raise ValueError(f"array has shape {shape}, {like.name} has {found}")
    return _nifti_prefix(like)


def _nifti_prefix(path: Path) -> bytes | None:
    """The first bytes of a NIfTI file, None for another format."""
    ending = split_ending(path.name)[1]
    if ending not in NIFTI_ENDINGS:
        return None
    check_content(path)
    prefix = read_gzip_prefix(path, HEADER_BYTES) if ending == ".nii.gz" else read_prefix(path, HEADER_BYTES)
    if not looks_like_nifti(prefix):
        raise InputError("I5", path, "is not NIfTI: the header begins with another size", "check what the file is")
    return prefix
