"""NIfTI-1 and NIfTI-2: the header, checked field by field, and writing. Voxels are read by ``payload``."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import header_dtype as header1_dtype
from nibabel.nifti2 import header_dtype as header2_dtype
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.imaging.geometry import LPS_FROM_RAS, Geometry, max_corner_distance_mm, orientation_of
from semivox.imaging.layout import EXPORT_AGAIN, Layout, check_affine, check_budget, check_spacing, checked_shape

HEADER_BYTES = 544
"""Enough for both versions."""
MAX_DISAGREEMENT_MM = 1e-2
QUATERNION_ROUNDING = 4e-7
"""Of 1 - b^2 - c^2 - d^2 in float32; near half turns its square root is what the angle may be off."""
_SIZES = {348: (header1_dtype, b"n+1\0", 352), 540: (header2_dtype, b"n+2\0\r\n\x1a\n", 544)}
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_REFUSED_TYPES = {0: "unknown", 1: "1-bit", 32: "complex64", 128: "RGB24", 1536: "float128", 1792: "complex128",
                  2048: "complex256", 2304: "RGBA32"}
_UNIT_MM = {1: 1e3, 2: 1.0, 3: 1e-3}
_GEOMETRY_FIELDS = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                    "qoffset_z", "srow_x", "srow_y", "srow_z")


def looks_like_nifti(prefix: bytes) -> bool:
    """Whether bytes begin as a NIfTI header does, in either byte order."""
    return len(prefix) >= 4 and any(int.from_bytes(prefix[:4], order) in _SIZES for order in ("little", "big"))


def parse_nifti(path: Path, prefix: bytes, *, compressed: bool, limit_gb: float) -> Layout:
    """Check a header and say where the voxels are.

    Args:
        path: named in errors.
        prefix: the first ``HEADER_BYTES`` decoded bytes of the file, or all when there are fewer.
        compressed: whether the file is gzip.
        limit_gb: memory limit.

    Raises:
        InputError: I1, I6-I11, I13-I17, I25.
    """
    header, first_voxel = _unpack(path, prefix)
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise InputError("I6", path, f"header declares {count} dimensions, expected 3", EXPORT_AGAIN)
    shape, notes = checked_shape(path, [int(size) for size in header["dim"][1 : count + 1]])
    dtype = _voxel_type(path, header)
    check_budget(path, shape, dtype, limit_gb)
    slope, intercept = _scaling(path, header)
    geometry, more_notes = _geometry(path, header, shape)
    return Layout(shape, geometry, dtype, 0, _offset(path, header, first_voxel), "gzip" if compressed else "none",
                  slope, intercept, None, notes + more_notes)


def channel_header(path: Path, prefix: bytes) -> tuple[bytes, int]:
    """The header of one volume of a 4D file, and how many volumes lie one after the other in it (1: a 3D file)."""
    header, _ = _unpack(path, prefix)
    sizes = [int(size) for size in header["dim"][1 : int(header["dim"][0]) + 1]]
    if len(sizes) < 4 or sizes[3] < 2 or any(size != 1 for size in sizes[4:]):
        return prefix, 1
    volume = header.copy()
    volume["dim"][0], volume["dim"][4] = 3, 1
    return volume.tobytes() + prefix[header.dtype.itemsize :], sizes[3]


def write_nifti(path: Path, array: NDArray, geometry: Geometry, *, like: bytes | None, compress: bool) -> None:
    """Write a 3D array; the same input gives the same bytes.

    Args:
        path: target (the caller makes the write atomic).
        array: (X, Y, Z).
        geometry: used when ``like`` is None.
        like: header bytes of the scan whose geometry fields are taken over exactly; nothing else of it is.
        compress: gzip without time and name.
    """
    header = _header_like(like) if like is not None else _header_for(geometry)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = first_voxel = header.single_vox_offset
    content = header.binaryblock.ljust(int(first_voxel), b"\0")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    with open(path, "wb") as stream:
        if not compress:
            _write_voxels(stream, content, little)
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0) as packed:
            _write_voxels(packed, content, little)


def _write_voxels(stream: Any, header: bytes, array: NDArray) -> None:
    stream.write(header)
    for plane in range(array.shape[-1]):
        stream.write(array[..., plane].tobytes(order="F"))


def _unpack(path: Path, prefix: bytes) -> tuple[Any, int]:
    """The header as a record in native field types, and the smallest legal position of the voxels."""
    size, order = int.from_bytes(prefix[:4], "little"), "<"
    if size not in _SIZES:
        size, order = int.from_bytes(prefix[:4], "big"), ">"
    dtype, magic, first_voxel = _SIZES[size]
    if len(prefix) < dtype.itemsize:
        raise InputError("I1", path, f"ends inside the header: expected {dtype.itemsize} bytes, found {len(prefix)}",
                         "copy or download the file again")
    header = np.frombuffer(prefix, dtype=dtype.newbyteorder(order), count=1)[0]
    found = prefix[dtype.fields["magic"][1] :][: len(magic)]
    if found[:4] in (b"ni1\0", b"ni2\0"):
        raise InputError("I25", path, "is the header of a .hdr/.img pair, expected a single-file NIfTI",
                         "convert the pair to .nii.gz")
    if found != magic:
        raise InputError("I5", path, f"is not NIfTI: magic is {found!r}, expected {magic!r}", EXPORT_AGAIN)
    return header, first_voxel


def _voxel_type(path: Path, header: Any) -> np.dtype:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in _TYPES:
        raise InputError("I15", path, f"voxel type {_REFUSED_TYPES.get(code, 'unknown')} (code {code}) is not a plain"
                         " number", "convert the scan to int16 or float32")
    dtype = np.dtype(_TYPES[code]).newbyteorder(header.dtype["dim"].base.byteorder)
    if bits != 8 * dtype.itemsize:
        raise InputError("I15", path, f"header declares {bits} bits per voxel, {dtype.name} has {8 * dtype.itemsize}",
                         EXPORT_AGAIN)
    return dtype


def _offset(path: Path, header: Any, first_voxel: int) -> int:
    offset = float(header["vox_offset"])
    if not first_voxel <= offset < 2**40 or offset != int(offset):
        raise InputError("I14", path, f"vox_offset is {offset:g}, expected a whole number of at least {first_voxel}",
                         EXPORT_AGAIN)
    return int(offset)


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:  # the standard: no scaling
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise InputError("I13", path, f"scl_slope is {slope:g} and scl_inter {intercept:g}, expected finite numbers",
                         "write scl_slope = 1 and scl_inter = 0 into the header if the voxels are not scaled")
    return slope, intercept


def _geometry(path: Path, header: Any, shape: Sequence[int]) -> tuple[Geometry, tuple[str, ...]]:
    """The sform, else the qform, else the spacing alone; the two must agree where both are set."""
    unit = _UNIT_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    pixdim = header["pixdim"][1:4].astype(np.float64) * unit
    check_spacing(path, pixdim.tolist(), key="pixdim")
    sform = qform = None
    slack_mm = 0.0
    if int(header["sform_code"]) > 0:
        sform = np.eye(4)
        sform[:3] = [header[f"srow_{axis}"].astype(np.float64) * unit for axis in "xyz"]
        check_affine(path, sform, key="sform")
    if int(header["qform_code"]) > 0:
        qform, slack = _qform(path, header, pixdim, unit)
        slack_mm = slack * float(np.linalg.norm(pixdim * shape))
        check_affine(path, qform, key="qform")
    if sform is not None and qform is not None:
        _check_agreement(path, sform, qform, shape=shape, slack_mm=slack_mm)
    if sform is None and qform is None:
        return Geometry.from_affine_ras(np.diag([*pixdim, 1.0])), ("orientation is unknown, RAS is assumed",)
    geometry = Geometry.from_affine_ras(sform if sform is not None else np.asarray(qform))
    if not np.allclose(geometry.spacing_mm, pixdim, rtol=1e-3):
        found = ", ".join(f"{value:g}" for value in pixdim)
        return geometry, (f"pixdim ({found} mm) differs from the sform, which is used",)
    return geometry, ()


def _qform(path: Path, header: Any, pixdim: NDArray[np.float64], unit: float) -> tuple[NDArray[np.float64], float]:
    """The matrix, and how far (radians) rounding of the float32 quaternion may have turned it."""
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-5:  # also NaN
        raise InputError("I10", path, f"qform quaternion ({b:g}, {c:g}, {d:g}) is no rotation", EXPORT_AGAIN)
    handed = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    qform = np.eye(4)
    a = float(np.sqrt(rest)) if rest > 1e-7 else 0.0  # below that it is the rounding of a half turn
    qform[:3, :3] = quat2mat([a, b, c, d]) * (pixdim * [1, 1, handed])
    qform[:3, 3] = [float(header[f"qoffset_{axis}"]) * unit for axis in "xyz"]
    return qform, QUATERNION_ROUNDING / max(a, QUATERNION_ROUNDING**0.5)


def _check_agreement(
    path: Path, sform: NDArray[np.float64], qform: NDArray[np.float64], *, shape: Sequence[int], slack_mm: float
) -> None:
    first, second = Geometry.from_affine_ras(sform), Geometry.from_affine_ras(qform)
    distance = max_corner_distance_mm(first, second, (1, 1, 1))
    farthest = max_corner_distance_mm(first, second, shape)
    if farthest > MAX_DISAGREEMENT_MM + slack_mm:
        distance = farthest
    other_axes = orientation_of(first) != orientation_of(second)
    if distance > MAX_DISAGREEMENT_MM or other_axes:
        axes = ", their axes point elsewhere" if other_axes else ""
        raise InputError("I11", path, f"sform and qform disagree by up to {distance:.3g} mm, allowed are"
                         f" {MAX_DISAGREEMENT_MM:g}{axes}",
                         "keep the right one: set the code of the other to 0 (nibabel: set_qform(None, 0)) and save")


def _header_like(like: bytes) -> nibabel.Nifti1Header:
    """A fresh little-endian header with the geometry fields of another; texts and extensions stay behind."""
    kind = nibabel.Nifti2Header if 540 in (int.from_bytes(like[:4], o) for o in ("little", "big")) else None
    source = (kind or nibabel.Nifti1Header)(like[: 540 if kind else 348], check=False)
    header = type(source)(endianness="<")
    for field in _GEOMETRY_FIELDS:
        header[field] = source[field]
    header["pixdim"][:4] = source["pixdim"][:4]
    header["xyzt_units"] = int(source["xyzt_units"]) & 7
    return header


def _header_for(geometry: Geometry) -> nibabel.Nifti1Header:
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape((1, 1, 1))
    affine = LPS_FROM_RAS @ geometry.affine_lps
    header.set_qform(affine, code="scanner", strip_shears=True)
    header.set_sform(affine, code="scanner")
    header.set_xyzt_units(xyz="mm")
    return header
