"""Listing the folders of a dataset: scans, and what is not a scan."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from semivox.data.problems import Problem, relative
from semivox.errors import ResourceError
from semivox.imaging.files import IMAGE_ENDINGS, split_ending
from semivox.imaging.integrity import PARTIAL_ENDINGS
from semivox.wording import first_names

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
OTHER_SCAN_ENDINGS = (".mhd", ".raw", ".hdr", ".img", ".img.gz", ".dcm", ".npy", ".npz", ".mgz", ".mgh", ".nhdr",
                      ".h5", ".hdf5", ".tif", ".tiff", ".mnc", ".mat")


class Listing(NamedTuple):
    """One folder's files."""

    scans: dict[str, tuple[Path, ...]]
    """File name without its ending -> the files that have it (more than one is a clash)."""
    hidden: int
    partial: tuple[Path, ...]
    other: tuple[Path, ...]


def is_hidden(name: str) -> bool:
    """Whether a file belongs to the operating system (``.DS_Store``, ``._x.nii.gz``, ``Thumbs.db``)."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def list_folder(folder: Path) -> Listing:
    """List a folder, not its subfolders. A folder that does not exist is empty.

    Raises:
        ResourceError: D1, no permission to read the folder.
    """
    scans: dict[str, list[Path]] = defaultdict(list)
    hidden, partial, other = 0, [], []
    for path in _entries(folder):
        if is_hidden(path.name):
            hidden += 1
        elif path.name.lower().endswith(PARTIAL_ENDINGS):
            partial.append(path)
        elif _is_scan(path):
            scans[split_ending(path.name)[0]].append(path)
        else:
            other.append(path)
    return Listing({stem: tuple(paths) for stem, paths in scans.items()}, hidden, tuple(partial), tuple(other))


def listing_problems(root: Path, listings: dict[str, Listing]) -> list[Problem]:
    """What is in the folders and is not a scan: unfinished downloads (D17), system files (D16), other files (D2)."""
    found = []
    for listing in listings.values():
        found += [Problem("D17", "error", relative(path, root), "is an unfinished download",
                          "download the file again, or delete it") for path in listing.partial]
    hidden = sum(listing.hidden for listing in listings.values())
    if hidden:
        found.append(Problem("D16", "note", ".", f"{hidden} hidden or system files ignored (.DS_Store, ._*, Thumbs.db)",
                             "nothing to do"))
    other = [path for listing in listings.values() for path in listing.other]
    unread = [path for path in other if path.name.lower().endswith(OTHER_SCAN_ENDINGS) or path.is_dir()]
    for severity, paths, fix in (("warning", unread, f"convert scans to one of {', '.join(IMAGE_ENDINGS)}"),
                                 ("note", [path for path in other if path not in set(unread)], "nothing to do")):
        if paths:
            names = first_names(relative(path, root) for path in paths)
            found.append(Problem("D2", severity, paths[0].parent.name,  # type: ignore[arg-type]
                                 f"ignored {len(paths)} that are no scans in a known format: {names}", fix))
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise ResourceError("D1", folder, f"user id {os.getuid()} may not read this folder",
                            "grant read and search permission on it (chmod u+rx)") from None


def _is_scan(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_ENDINGS) and not path.is_dir()
