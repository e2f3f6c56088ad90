"""The left-atrium layout of the literature: one HDF5 file per case with the data sets ``image`` and ``label``.

HDF5 can point to other files in three ways (external links, external storage, virtual data sets): all are refused
before a voxel is read, and so are sizes beyond the memory limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semivox.errors import InputError
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry
from semivox.imaging.integrity import check_content
from semivox.imaging.layout import EXPORT_AGAIN, LIMIT_GB, Layout, check_budget, checked_shape
from semivox.imaging.payload import GET_AGAIN
from semivox.imaging.voxels import to_float32, to_labels

IMAGE_KEY, LABEL_KEY = "image", "label"
VOXEL_GRID = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), False)
"""The files say nothing about spacing and place: voxels are the unit."""


def read_la_case(path: Path, *, limit_gb: float = LIMIT_GB) -> tuple[Scan, Scan | None]:
    """Read image and label of one case.

    Args:
        path: ``.../<case>/mri_norm2.h5``.
        limit_gb: memory that one array may need.

    Returns:
        The image (float32), and the label (uint8 or uint16) or None when the file has none; spacing is not known.

    Raises:
        InputError: I46 not HDF5, damaged or without ``image``; I47 points to other files; I48 too large or not
            numbers; I26 label of another shape; and the voxel faults of ``read_image`` and ``read_label``.
    """
    with _opened(path) as file:
        image = _read(path, file, IMAGE_KEY, limit_gb=limit_gb)
        label = _read(path, file, LABEL_KEY, limit_gb=limit_gb) if LABEL_KEY in set(file) else None
    if label is not None and label.array.shape != image.array.shape:
        raise InputError("I26", path, f"label has shape {label.array.shape}, the image has {image.array.shape}",
                         "replace the label by one of the image's shape")
    return image, label


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An HDF5 file, read-only, without plugins; library errors become ours."""
    import h5py

    while h5py.h5pl.size():  # filters from files outside the library are code
        h5py.h5pl.remove(0)

    prefix = check_content(path)
    if not prefix.startswith(b"\x89HDF\r\n\x1a\n"):
        raise InputError("I46", path, f"is not HDF5: it begins with {prefix[:8]!r}", GET_AGAIN)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160]
        code = "I49" if "open for write" in reason else "I46"
        fix = "copy the file, then run 'h5clear -s' on the copy" if code == "I49" else GET_AGAIN
        raise InputError(code, path, f"HDF5 cannot read it ({reason})", fix) from None


def _read(path: Path, file: Any, key: str, *, limit_gb: float) -> Scan:
    data = _dataset(path, file, key)
    layout = _layout(path, data, limit_gb)
    voxels = data[...].reshape(layout.shape)
    if key == LABEL_KEY:
        labels, notes = to_labels(path, voxels, layout)
        return Scan(labels, layout.geometry, layout.notes + notes)
    return Scan(to_float32(path, voxels, layout), layout.geometry, layout.notes)


def _dataset(path: Path, file: Any, key: str) -> Any:
    """The data set of that name, if it lies in this very file."""
    import h5py

    names = set(file)  # "in file" would follow links
    if key not in names:
        found = ", ".join(name[:40] for name in sorted(names)[:20]) or "nothing"
        raise InputError("I46", path, f"holds {found}, expected the data sets {IMAGE_KEY} and {LABEL_KEY}",
                         f"save the scan as the data set '{IMAGE_KEY}'")
    if not isinstance(file.get(key, getlink=True), h5py.HardLink):
        raise InputError("I47", path, f"'{key}' is a link, expected the data itself", EXPORT_AGAIN)
    data = file[key]
    if not isinstance(data, h5py.Dataset):
        raise InputError("I46", path, f"'{key}' is a group, expected a data set", EXPORT_AGAIN)
    if data.is_virtual or data.external:
        raise InputError("I47", path, f"'{key}' has its data in another file, which is not allowed", EXPORT_AGAIN)
    return data


def _layout(path: Path, data: Any, limit_gb: float) -> Layout:
    if data.dtype.kind not in "iuf" or data.dtype.itemsize > 8:
        raise InputError("I48", path, f"'{data.name}' holds {data.dtype}, expected plain numbers",
                         "save the voxels as float32 or uint8")
    shape, notes = checked_shape(path, data.shape)
    check_budget(path, shape, data.dtype, limit_gb)
    _check_storage(path, data)
    return Layout(shape, VOXEL_GRID, data.dtype, 0, 0, "none", notes=notes)


def _check_storage(path: Path, data: Any) -> None:
    """HDF5 gives zeros for what was never written; and what it cannot decompress it should not try."""
    import h5py

    creation = data.id.get_create_plist()
    filters = [creation.get_filter(index) for index in range(creation.get_nfilters())]
    unknown = [entry for entry in filters if not h5py.h5z.filter_avail(entry[0])]
    if unknown:
        raise InputError("I48", path, f"'{data.name}' uses the filter {unknown[0][0]}, which is not part of HDF5",
                         "save the voxels with gzip compression or none")
    if data.chunks is None:
        found, expected, unit = data.id.get_storage_size(), data.size * data.dtype.itemsize, "bytes"
    else:
        pieces = [-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True)]
        found, expected, unit = data.id.get_num_chunks(), math.prod(pieces), "chunks"
    if found < expected:
        raise InputError("I46", path, f"'{data.name}' should have {expected:,} {unit}, the file holds {found:,}",
                         GET_AGAIN)
