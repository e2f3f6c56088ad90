"""What is slow to make is kept beside the comparison, under a key that changes with what it is made from.

A cache can be deleted at any time, and nothing but the speed of the next report depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from semivox.errors import SemivoxError
from semivox.fsio import read_json, sha256_json, write_json

FOLDER = ".report"
VERSION = 1
"""Raise it when the same files give another value than before."""


def fingerprint(paths: Iterable[Path], *more: Any) -> str:
    """Digest of names, sizes and times of files, and of JSON values; missing files count as such."""
    found: list[Any] = []
    for path in paths:
        try:
            state = path.stat()
        except OSError:
            found.append([path.name, None])
            continue
        found.append([path.name, path.parent.name, state.st_size, state.st_mtime_ns])
    return sha256_json([VERSION, found, list(more)])


def cached(folder: Path, name: str, key: str, build: Callable[[], Any]) -> Any:
    """The JSON value that ``build`` gives, from the cache when it was built with the same key before.

    Args:
        folder: of the comparison or run.
        name: of the value, good as a file name.
        key: of ``fingerprint``.
        build: makes the value; a value of None is not kept.
    """
    path = folder / FOLDER / f"{name}.json"
    if path.is_file():
        with suppress(SemivoxError, KeyError, TypeError):
            content = read_json(path)
            if content["key"] == key:
                return content["value"]
    value = build()
    if value is not None:
        with suppress(OSError):  # a folder that cannot be written is read all the same
            write_json(path, {"key": key, "value": value})
    return value
