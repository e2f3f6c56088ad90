"""The check of a prepared store: every file against the size and checksum that were recorded when it was written."""

from __future__ import annotations

from pathlib import Path

from semivox.data.problems import Problem, relative
from semivox.data.provenance import MARKER
from semivox.data.records import PREPARE_AGAIN
from semivox.data.store import STORE_JSON, Store


def is_store(path: Path) -> bool:
    """Whether a folder is a prepared store, finished or not."""
    return any((path / name).is_file() for name in (STORE_JSON, MARKER))


def check_store(path: Path) -> list[Problem]:
    """Read every file of a store once; one finding for each that is missing or not as it was written.

    Raises:
        InputError: K6 or K8, the store was not prepared to the end, or by another version.
    """
    return [Problem("T19", "error", relative(fault.path, path), fault.problem, PREPARE_AGAIN)
            for fault in Store.read(path).verify()]
