"""NRRD: the text header, checked, and nothing that points to another file. Voxels are read by ``payload``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.imaging.geometry import Geometry
from semivox.imaging.layout import EXPORT_AGAIN, Layout, check_affine, check_budget, check_spacing, checked_shape
from semivox.imaging.payload import GZIP_MAGIC, opened

MAX_HEADER_BYTES = 1 << 20
_TYPES = {
    "i1": "signed char,int8,int8_t", "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t", "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t", "f4": "float", "f8": "double",
}
_TYPE_CODES = {name: code for code, names in _TYPES.items() for name in names.split(",")}
_SPACES = {"left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
           "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1)}
_VECTOR = re.compile(r"none|\([^()]*\)")


def parse_nrrd(path: Path, *, limit_gb: float) -> Layout:
    """Check a header and say where the voxels are.

    Raises:
        InputError: I6-I10, I15-I17, I36 fields that do not fit together, I37 detached data, I39 segment layers.
    """
    fields, start = _fields(path)
    if "data file" in fields or "datafile" in fields:
        raise InputError("I37", path, "external data file not allowed: the voxels are in another file",
                         "save the scan as one .nrrd file")
    sizes = _integers(path, fields, "sizes")
    vectors = _VECTOR.findall(_required(path, fields, "space directions"))
    if len(sizes) != len(vectors) or [str(len(sizes))] != fields.get("dimension", "").split():
        raise InputError("I36", path, f"dimension is {fields.get('dimension', 'missing')}, but there are {len(sizes)}"
                         f" sizes and {len(vectors)} space directions", EXPORT_AGAIN)
    _check_components(path, fields, sizes, vectors)
    spatial = [size for size, vector in zip(sizes, vectors, strict=True) if vector != "none" or size > 1]
    shape, notes = checked_shape(path, spatial)
    dtype = _voxel_type(path, fields)
    check_budget(path, shape, dtype, limit_gb)
    geometry = _geometry(path, fields, [vector for vector in vectors if vector != "none"])
    compression = _compression(path, fields, start)
    return Layout(shape, geometry, dtype, start, 0, compression, notes=notes)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields by lower-case name, and the position after the empty line that ends the header."""
    fields: dict[str, str] = {}
    with opened(path) as stream:
        stream.readline(MAX_HEADER_BYTES)
        while (line := stream.readline(MAX_HEADER_BYTES)) and stream.tell() < MAX_HEADER_BYTES:
            text = line.decode("utf-8", errors="replace").rstrip("\r\n")
            if not text:
                return fields, stream.tell()
            if text.startswith("#"):
                continue
            name, mark, value = text.partition(":")
            name = name.strip().lower()
            if mark and value.startswith("="):
                fields[f"={name}"] = value[1:]
            elif name in fields:
                raise InputError("I36", path, f"header names '{name}' twice", EXPORT_AGAIN)
            else:
                fields[name] = value.strip()
    raise InputError("I1", path, f"ends inside the header, which has no empty line in {MAX_HEADER_BYTES:,} bytes",
                     "copy or download the file again")


def _required(path: Path, fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise InputError("I36", path, f"header field '{name}' is missing", EXPORT_AGAIN)
    return fields[name]


def _integers(path: Path, fields: dict[str, str], name: str) -> list[int]:
    text = _required(path, fields, name)
    try:
        return [int(part) for part in text.split()]
    except ValueError:
        raise InputError("I36", path, f"{name}: {text[:80]!r} is not a list of whole numbers", EXPORT_AGAIN) from None


def _check_components(path: Path, fields: dict[str, str], sizes: list[int], vectors: list[str]) -> None:
    if any(name.startswith("=segment") for name in fields) and len(sizes) > 3:
        raise InputError("I39", path, "is a segmentation with overlapping layers, expected one label map",
                         "export the segmentation as a label map (in 3D Slicer: Export to labelmap)")
    bad = [size for size, vector in zip(sizes, vectors, strict=True) if vector == "none" and size > 1]
    if bad:
        raise InputError("I16", path, f"each voxel holds {bad[0]} values, expected one",
                         "save each channel as a file of its own (name_0000, name_0001, ...)")
    for name in ("byte skip", "byteskip", "line skip", "lineskip"):
        if fields.get(name, "0") != "0":
            raise InputError("I36", path, f"'{name}: {fields[name]}' is not supported, expected 0", EXPORT_AGAIN)


def _voxel_type(path: Path, fields: dict[str, str]) -> np.dtype:
    name = _required(path, fields, "type").lower()
    if name not in _TYPE_CODES:
        raise InputError("I15", path, f"voxel type '{name}' is not a plain number",
                         "convert the scan to int16 or float32")
    dtype = np.dtype(_TYPE_CODES[name])
    if dtype.itemsize == 1:
        return dtype
    endian = _required(path, fields, "endian").lower()
    if endian not in ("little", "big"):
        raise InputError("I36", path, f"endian: '{endian}', expected little or big", EXPORT_AGAIN)
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _compression(path: Path, fields: dict[str, str], start: int) -> Literal["none", "gzip"]:
    encoding = _required(path, fields, "encoding").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError("I36", path, f"encoding '{encoding}' is not supported, expected raw or gzip",
                         "save the scan with gzip compression")
    if encoding == "raw":
        return "none"
    with opened(path) as stream:
        stream.seek(start)
        if not GZIP_MAGIC.startswith(stream.read(2)):
            raise InputError("I36", path, "header declares gzip, the data is not gzip", EXPORT_AGAIN)
    return "gzip"


def _geometry(path: Path, fields: dict[str, str], vectors: list[str]) -> Geometry:
    space = _required(path, fields, "space").lower()
    if space not in _SPACES:
        raise InputError("I36", path, f"space '{space}' is not anatomical, expected left-posterior-superior",
                         "save the scan again with its orientation")
    affine = np.eye(4)
    columns = [_vector(path, "space directions", text) for text in vectors[:3]]
    if len(columns) < 3:
        raise InputError("I36", path, f"space directions has {len(columns)} vectors, expected 3", EXPORT_AGAIN)
    for axis, column in enumerate(columns):
        affine[:3, axis] = column
    if "space origin" in fields:
        affine[:3, 3] = _vector(path, "space origin", fields["space origin"])
    affine[:3] *= np.reshape(_SPACES[space], (3, 1))
    if np.isfinite(affine).all():
        check_spacing(path, [math.hypot(*column) for column in columns], key="space directions")
    check_affine(path, affine, key="space directions")
    return Geometry.from_affine_lps(affine)


def _vector(path: Path, name: str, text: str) -> NDArray[np.float64]:
    try:
        first, second, third = (float(part) for part in text.strip().strip("()").split(","))
    except ValueError:
        raise InputError("I36", path, f"{name}: {text[:80]!r} is not a vector of 3 numbers", EXPORT_AGAIN) from None
    return np.array([first, second, third])
