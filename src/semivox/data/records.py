"""Size and checksum of every file of a store, recorded beside it, and what differs from the record."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.fsio import read_json, sha256_file

MISSING = "file not found in the store"
SLAB_BYTES = 1 << 20
PREPARE_AGAIN = "run the same `semivox prepare` again: it writes what is missing or damaged anew"


class Fault(NamedTuple):
    """A file of a store that is not as it was written."""

    path: Path
    problem: str


def file_record(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as stored beside it."""
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def save_array(path: Path, array: NDArray[Any], *, order: Literal["C", "F"] = "C") -> dict[str, Any]:
    """Write the bytes that ``np.save`` writes, slab by slab, so that another memory order takes no copy.

    Args:
        path: of the ``.npy`` file.
        array: of plain numbers, in any memory order.
        order: of the file.

    Returns:
        What ``file_record`` returns, without reading the file.
    """
    fortran = order == "F" and sum(size > 1 for size in array.shape) > 1  # else both are one, which NumPy calls C
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {
        "descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": fortran, "shape": array.shape})
    digest = hashlib.sha256(header.getvalue())
    with open(path, "wb") as stream:
        stream.write(header.getvalue())
        for slab in _slabs(array.T if fortran else array):
            digest.update(slab.data)
            stream.write(slab.data)
        size = stream.tell()
    return {"bytes": size, "sha256": digest.hexdigest()}


def _slabs(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The array in C order, in contiguous parts of about ``SLAB_BYTES``."""
    rows = max(1, SLAB_BYTES * len(array) // max(1, array.nbytes))
    if rows == 1 and array.ndim > 1 and array[:1].nbytes > SLAB_BYTES:
        for row in array:
            yield from _slabs(row)
        return
    for start in range(0, len(array), rows):
        part = np.ascontiguousarray(array[start : start + rows])
        if part.size:
            yield part


def require_sizes(folder: Path, record_name: str) -> None:
    """Refuse a case folder with a file that is missing or has another size than its record says; opens no array.

    Raises:
        InputError: T19, with both sizes.
    """
    for fault in folder_faults(folder, record_name, checksums=False):
        raise InputError("T19", fault.path, fault.problem, PREPARE_AGAIN)


def folder_faults(folder: Path, record_name: str, *, checksums: bool = True) -> list[Fault]:
    """What is wrong with a case folder, compared with its record; empty when intact.

    Args:
        folder: of a case.
        record_name: the file in it that holds sizes and checksums.
        checksums: False compares sizes alone.
    """
    if not (folder / record_name).is_file():
        return [Fault(folder / record_name, MISSING)]
    try:
        return file_faults(folder, read_json(folder / record_name)["files"], checksums=checksums)
    except (InputError, KeyError, TypeError) as error:
        problem = error.problem if isinstance(error, InputError) else "not a record of a case"
        return [Fault(folder / record_name, problem)]


def file_faults(folder: Path, files: dict[str, dict[str, Any]], *, checksums: bool = True) -> list[Fault]:
    """Compare the files of a folder with their records; arguments as in ``folder_faults``."""
    faults = []
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            faults.append(Fault(path, MISSING))
        elif path.stat().st_size != expected["bytes"]:
            faults.append(Fault(path, f"{path.stat().st_size:,} bytes, recorded are {expected['bytes']:,}"))
        elif checksums and sha256_file(path) != expected["sha256"]:
            faults.append(Fault(path, "checksum differs from the record"))
    return faults
