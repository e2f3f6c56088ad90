"""Reading the bytes of a file to their very end: what comes out is complete, or an error says what is missing.

SimpleITK takes any truncated NIfTI, nibabel some; so every stream is decoded here, under a cap that the header
sets, with the checksums and lengths of the compressed form checked. Intel's ISA-L decodes twice as fast as zlib.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from semivox.errors import InputError, ResourceError
from semivox.imaging.layout import Layout

CHUNK_BYTES = 1 << 20
SLACK_BYTES = 1 << 20
"""Decoded bytes after the last voxel that are tolerated (padding)."""
GET_AGAIN = "copy or download the file again"
GZIP_MAGIC = b"\x1f\x8b"
_WINDOW_BITS = {"gzip": 31, "zlib": 15}  # with 31, zlib checks CRC32 and length of the gzip trailer itself


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open for reading; what the operating system refuses becomes an error with a fix.

    Raises:
        InputError: D1 the file is missing or is a folder.
        ResourceError: D1 no permission, or the disk fails.
    """
    try:
        with open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise InputError("D1", path, "file not found", "check the path") from None
    except IsADirectoryError:
        raise InputError("D1", path, "is a folder, expected a file", "give the path of one scan") from None
    except PermissionError:
        raise ResourceError("D1", path, f"no permission to read it (uid {os.getuid()})",
                            "change the permissions of the file") from None
    except OSError as error:
        raise ResourceError("D1", path, f"cannot be read: {error.strerror or error}", "check disk and mount") from None


def read_prefix(path: Path, size: int) -> bytes:
    """First bytes of a file as they are."""
    with opened(path) as stream:
        return stream.read(size)


def read_gzip_prefix(path: Path, size: int) -> bytes:
    """First decoded bytes of a gzip file; fewer when it ends early."""
    with opened(path) as stream:
        decoder = zlib.decompressobj(_WINDOW_BITS["gzip"])
        try:
            return decoder.decompress(stream.read(max(4 * size, 65536)), size)
        except zlib.error as error:
            raise _damaged(path, str(error)) from None


def read_voxels(path: Path, layout: Layout) -> tuple[NDArray, tuple[str, ...]]:
    """Read and check all voxels of a file.

    Returns:
        (X, Y, Z) array of the stored dtype in Fortran order, unscaled, and notes about bytes after the voxels.

    Raises:
        InputError: see ``stream_voxels``.
    """
    buffer = np.empty(layout.voxel_bytes, dtype=np.uint8)
    notes = stream_voxels(path, layout, buffer.data)
    return buffer.view(layout.dtype).reshape(layout.shape, order="F"), notes


def stream_voxels(path: Path, layout: Layout, target: memoryview | None = None) -> tuple[str, ...]:
    """Go through a file to its end; with ``target``, keep the voxel bytes there.

    Returns:
        Notes about bytes after the voxels.

    Raises:
        InputError: I1 fewer voxel bytes than declared, I2 compressed data ends early, I3 checksum or length
            trailer wrong, I7 the data goes on far beyond what the header declares.
    """
    sink = _Sink(layout, target)
    with opened(path) as stream:
        stream.seek(layout.start)
        if layout.compression == "none":
            notes = _copy_plain(path, stream, sink)
        else:
            try:
                notes = _copy_compressed(path, stream, sink, isal_zlib)
            except (IsalError, InputError):  # type: ignore[misc]  # its stub declares an instance
                # zlib decides what is wrong with a file, and whether anything is
                sink = _Sink(layout, target)
                stream.seek(layout.start)
                notes = _copy_compressed(path, stream, sink, zlib)
    if sink.voxel_bytes < layout.voxel_bytes:
        raise InputError("I1", path, f"expected {layout.voxel_bytes:,} voxel bytes, file has {sink.voxel_bytes:,}",
                         GET_AGAIN)
    if sink.extra_bytes:
        notes = (*notes, f"{sink.extra_bytes:,} bytes after the voxels were ignored")
    return notes


class _Sink:
    """Takes decoded bytes in order, keeps those of the voxels, counts the rest."""

    def __init__(self, layout: Layout, target: memoryview | None) -> None:
        self.layout = layout
        self.first, self.last = layout.skip, layout.skip + layout.voxel_bytes
        self.target, self.position = target, 0

    def take(self, data: bytes) -> None:
        begin, end = self.position, self.position + len(data)
        low, high = max(begin, self.first), min(end, self.last)
        if self.target is not None and low < high:
            self.target[low - self.first : high - self.first] = memoryview(data)[low - begin : high - begin]
        self.position = end

    @property
    def voxel_bytes(self) -> int:
        return max(0, min(self.position, self.last) - self.first)

    @property
    def extra_bytes(self) -> int:
        return max(0, self.position - self.last)


def _copy_plain(path: Path, stream: BinaryIO, sink: _Sink) -> tuple[str, ...]:
    size = os.fstat(stream.fileno()).st_size - stream.tell()
    if size > sink.last + SLACK_BYTES:
        raise InputError("I7", path, f"header declares {sink.last:,} bytes of data, file has {size:,}",
                         "check that the header belongs to this file, then export the scan again")
    while data := stream.read(CHUNK_BYTES):
        sink.take(data)
    return ()


def _copy_compressed(path: Path, stream: BinaryIO, sink: _Sink, library: Any) -> tuple[str, ...]:
    """Decode one stream, and for gzip the parts that follow it (as bgzip writes them), by zlib or its like."""
    compression = sink.layout.compression
    remaining = os.fstat(stream.fileno()).st_size - stream.tell()
    declared = sink.layout.stored_bytes
    if declared is not None and remaining < declared:
        raise InputError("I2", path, f"compressed data ends early: header declares {declared:,} bytes, file has"
                         f" {remaining:,}", GET_AGAIN)
    members, pending = 0, b""
    while members == 0 or (compression == "gzip" and pending[:2] == GZIP_MAGIC):
        decoder = library.decompressobj(_WINDOW_BITS[compression])
        _copy_member(path, stream, sink, decoder=decoder, pending=pending)
        members += 1
        pending = decoder.unused_data
        if len(pending) < len(GZIP_MAGIC):
            pending += stream.read(CHUNK_BYTES)
    trailing = len(pending) + os.fstat(stream.fileno()).st_size - stream.tell()
    notes = (f"compressed data has {members} parts",) if members > 1 else ()
    return (*notes, f"{trailing:,} bytes after the compressed data were ignored") if trailing else notes


def _copy_member(path: Path, stream: BinaryIO, sink: _Sink, *, decoder: Any, pending: bytes) -> None:
    """Decode one gzip member or zlib stream to its end, at most ``CHUNK_BYTES`` at a time."""
    while not decoder.eof:
        data = pending or stream.read(CHUNK_BYTES)
        try:
            decoded = decoder.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise _damaged(path, str(error)) from None
        pending = decoder.unconsumed_tail
        if not data and not decoded and not decoder.eof:
            raise InputError("I2", path, f"compressed data ends early, after {sink.voxel_bytes:,} of"
                             f" {sink.layout.voxel_bytes:,} voxel bytes", GET_AGAIN)
        sink.take(decoded)
        if sink.extra_bytes > SLACK_BYTES:
            raise InputError("I7", path, f"header declares {sink.last:,} bytes of data, the compressed data holds more",
                             "check that the header belongs to this file, then export the scan again")


def _damaged(path: Path, message: str) -> InputError:
    """What zlib says ("Error -3 while decompressing data: incorrect data check") in words with a fix."""
    reason = message.rpartition(": ")[2]
    what = {
        "incorrect data check": "checksum of the compressed data is wrong",
        "incorrect length check": "length stored at the end of the compressed data is wrong",
    }.get(reason, f"compressed data is damaged ({reason})")
    return InputError("I3", path, what, GET_AGAIN)
