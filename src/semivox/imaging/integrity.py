"""Is this file what its name says, and is it complete? The header is parsed and every byte is gone through."""

from __future__ import annotations

from pathlib import Path

from semivox.errors import InputError
from semivox.imaging.layout import LIMIT_GB, Layout
from semivox.imaging.metaimage import parse_metaimage
from semivox.imaging.nifti import HEADER_BYTES, looks_like_nifti, parse_nifti
from semivox.imaging.nrrd import parse_nrrd
from semivox.imaging.payload import GET_AGAIN, GZIP_MAGIC, read_gzip_prefix, read_prefix, stream_voxels

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
ENDINGS = (*IMAGE_ENDINGS, ".h5")
PARTIAL_ENDINGS = (".part", ".crdownload", ".partial", ".download")
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_KINDS = {"gzip": ".nii.gz", "NIfTI": ".nii", "NRRD": ".nrrd", "MetaImage": ".mha", "HDF5": ".h5"}
_EXPECTED = {".nii.gz": "gzip", ".nii": "NIfTI", ".nrrd": "NRRD", ".mha": "MetaImage", ".h5": "HDF5"}


def split_ending(name: str) -> tuple[str, str]:
    """``"x_0000.nii.gz"`` -> ``("x_0000", ".nii.gz")``; the ending is lower case, and empty when it is not known."""
    for ending in ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""


def is_image_file(path: Path) -> bool:
    """Whether the name ends as a scan's does and is not hidden (``._x.nii.gz`` of a Mac is no scan)."""
    return not path.name.startswith(".") and split_ending(path.name)[1] in IMAGE_ENDINGS


def verify_complete(path: Path, *, limit_gb: float = LIMIT_GB) -> tuple[str, ...]:
    """Parse the header and go through all data: lengths, checksums, end.

    Returns:
        Notes (nothing that has to be repaired).

    Raises:
        InputError: D17, I1-I3, I5 and every fault of the header.
    """
    layout = read_layout(path, limit_gb=limit_gb)
    return (*layout.notes, *stream_voxels(path, layout))


def read_layout(path: Path, *, limit_gb: float = LIMIT_GB) -> Layout:
    """Parse the header of any supported image file, from its first bytes alone.

    Raises:
        InputError: D2 unknown ending, D17 no scan at all, I5 another format than the name says, and every fault
            of the header.
    """
    ending = split_ending(path.name)[1]
    prefix = check_content(path)
    if ending not in IMAGE_ENDINGS:
        raise InputError("D2", path, f"file name does not end in one of {', '.join(IMAGE_ENDINGS)}",
                         "convert the scan to .nii.gz, or give it its right ending")
    if ending == ".nrrd":
        return parse_nrrd(path, limit_gb=limit_gb)
    if ending == ".mha":
        return parse_metaimage(path, limit_gb=limit_gb)
    compressed = ending == ".nii.gz"
    header = read_gzip_prefix(path, HEADER_BYTES) if compressed else prefix[:HEADER_BYTES]
    if len(header) < 4:
        raise InputError("I2" if compressed else "I1", path, f"ends inside the header: {len(header)} bytes", GET_AGAIN)
    if not looks_like_nifti(header):
        raise InputError("I5", path, "is not NIfTI: the header begins with another size", "check what the file is")
    return parse_nifti(path, header, compressed=compressed, limit_gb=limit_gb)


def check_content(path: Path) -> bytes:
    """Recognize what is no scan, and another format than the name says, by the first bytes, which are returned.

    Raises:
        InputError: D17 with which of the four it is, or I5 with the true format.
    """
    prefix = read_prefix(path, 4096)
    fetch = "download the file itself"
    if path.name.lower().endswith(PARTIAL_ENDINGS):
        raise InputError("D17", path, "is a partial download", "finish the download, or remove the file")
    if not prefix:
        raise InputError("D17", path, "is a zero-byte file", GET_AGAIN)
    if prefix.startswith(b"version https://git-lfs"):
        raise InputError("D17", path, "is a Git LFS pointer, not the scan", "run 'git lfs pull'")
    if prefix.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML):
        raise InputError("D17", path, "is an HTML or XML page, not the scan", fetch)
    ending, kind = split_ending(path.name)[1], _kind(prefix)
    if ending in _EXPECTED and kind is not None and kind != _EXPECTED[ending]:
        stem = split_ending(path.name)[0]
        raise InputError("I5", path, f"is {kind} by its content, but named {ending}",
                         f"rename it to {stem}{_KINDS[kind]}")
    if ending in _EXPECTED and kind is None and ending != ".h5":
        raise InputError("I5", path, f"is not {_EXPECTED[ending]}: it begins with {prefix[:8]!r}", GET_AGAIN)
    return prefix


def _kind(prefix: bytes) -> str | None:
    if prefix.startswith(GZIP_MAGIC):
        return "gzip"
    if prefix.startswith(b"NRRD"):
        return "NRRD"
    if prefix.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5"
    if looks_like_nifti(prefix):
        return "NIfTI"
    first = prefix.split(b"\n", 1)[0]
    if b"=" in first and first.partition(b"=")[0].strip() in (b"ObjectType", b"NDims", b"Comment"):
        return "MetaImage"
    return None
