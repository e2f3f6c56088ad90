"""MetaImage (``.mha``): the text header, checked, and nothing that points to another file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semivox.errors import InputError
from semivox.imaging.geometry import Geometry
from semivox.imaging.layout import EXPORT_AGAIN, Layout, check_affine, check_budget, check_spacing, checked_shape
from semivox.imaging.payload import opened

MAX_HEADER_BYTES = 1 << 20
_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
          "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
          "MET_DOUBLE": "f8"}


def parse_metaimage(path: Path, *, limit_gb: float) -> Layout:
    """Check a header and say where the voxels are.

    Raises:
        InputError: I6-I10, I15-I17, I36 fields that do not fit together, I37 voxels in another file.
    """
    fields, start = _fields(path)
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise InputError("I37", path, "external data file not allowed: the voxels are in another file",
                         "save the scan as one .mha file")
    if _flag(fields, "BinaryData", default=True) is False or fields.get("HeaderSize", "0") != "0":
        raise InputError("I36", path, "voxels are stored as text or at another place, expected binary data right after"
                         " the header", EXPORT_AGAIN)
    sizes = [int(value) for value in _numbers(path, fields, "DimSize")]
    count = _numbers(path, fields, "NDims")
    if count != [len(sizes)]:
        raise InputError("I36", path, f"NDims is {fields['NDims']}, but DimSize has {len(sizes)} numbers", EXPORT_AGAIN)
    shape, notes = checked_shape(path, sizes)
    dtype = _voxel_type(path, fields)
    check_budget(path, shape, dtype, limit_gb)
    compressed = _flag(fields, "CompressedData", default=False)
    stored = None
    if compressed and "CompressedDataSize" in fields:
        stored = int(_numbers(path, fields, "CompressedDataSize")[0])
    return Layout(shape, _geometry(path, fields, len(sizes)), dtype, start, 0, "zlib" if compressed else "none",
                  stored_bytes=stored, notes=notes)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields by name, and the position after the line of ElementDataFile, which ends the header."""
    fields: dict[str, str] = {}
    with opened(path) as stream:
        while (line := stream.readline(MAX_HEADER_BYTES)) and stream.tell() < MAX_HEADER_BYTES:
            name, mark, value = line.decode("utf-8", errors="replace").partition("=")
            name = name.strip()
            if not mark:
                raise InputError("I36", path, f"header line {len(fields) + 1} is not 'Name = value'", EXPORT_AGAIN)
            if name in fields:
                raise InputError("I36", path, f"header names '{name}' twice", EXPORT_AGAIN)
            fields[name] = value.strip()
            if name == "ElementDataFile" and line.endswith(b"\n"):
                return fields, stream.tell()
    raise InputError("I1", path, "ends inside the header, which has no ElementDataFile",
                     "copy or download the file again")


def _numbers(path: Path, fields: dict[str, str], name: str) -> list[float]:
    if not fields.get(name):
        raise InputError("I36", path, f"header field '{name}' is missing", EXPORT_AGAIN)
    try:
        values = [float(part) for part in fields[name].split()]
        if name in ("DimSize", "NDims", "CompressedDataSize") and any(value != int(value) for value in values):
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError("I36", path, f"{name} = {fields[name][:80]!r} is no list of numbers", EXPORT_AGAIN) from None
    return values


def _flag(fields: dict[str, str], name: str, *, default: bool) -> bool:
    return fields.get(name, str(default)).lower() in ("true", "1", "t")


def _voxel_type(path: Path, fields: dict[str, str]) -> np.dtype:
    name = fields.get("ElementType", "missing")
    if name not in _TYPES:
        raise InputError("I15", path, f"voxel type '{name}' is not a plain number", 
                         "convert the scan to int16 or float32")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise InputError("I16", path, f"each voxel holds {fields['ElementNumberOfChannels']} values, expected one",
                         "save each channel as a file of its own (name_0000, name_0001, ...)")
    big = _flag(fields, "BinaryDataByteOrderMSB", default=False) or _flag(fields, "ElementByteOrderMSB", default=False)
    return np.dtype(_TYPES[name]).newbyteorder(">" if big else "<")


def _geometry(path: Path, fields: dict[str, str], dimensions: int) -> Geometry:
    key = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    if key not in fields:
        raise InputError("I8", path, "header holds no ElementSpacing, expected the voxel size in mm",
                         "write 'ElementSpacing = x y z' into the header")
    spacing = _numbers(path, fields, key)
    check_spacing(path, spacing[:3], key=key)
    directions = _first(fields, ("TransformMatrix", "Rotation", "Orientation"))
    origins = _first(fields, ("Offset", "Position", "Origin"))
    matrix = _numbers(path, fields, directions) if directions else np.eye(dimensions).ravel().tolist()
    origin = _numbers(path, fields, origins) if origins else [0.0] * dimensions
    if (len(spacing), len(matrix), len(origin)) != (dimensions, dimensions**2, dimensions):
        raise InputError("I36", path, f"spacing, direction and origin have {len(spacing)}, {len(matrix)} and"
                         f" {len(origin)} numbers, expected {dimensions}, {dimensions**2} and {dimensions}",
                         EXPORT_AGAIN)
    affine = np.eye(4)
    # rows of the file's matrix are the directions of the axes
    affine[:3, :3] = np.reshape(matrix, (dimensions, dimensions))[:3, :3].T * np.asarray(spacing[:3])
    affine[:3, 3] = origin[:3]
    check_affine(path, affine, key=directions or key)
    return Geometry.from_affine_lps(affine)


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)
