"""Durable files: a file with its final name is complete. JSON in and out is strict.

Every writer goes temp file -> fsync -> rename -> fsync of the folder, so that neither a kill nor a power loss
leaves a half-written file under its final name.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semivox.errors import InputError

MAX_JSON_BYTES = 10_000_000


def fsync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder (same ending); it gets its final name only on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        fsync_file(temporary)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; it gets its final name only on success. An existing ``path`` is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                fsync_file(file)
        fsync_folder(temporary)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
        fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented, without NaN or infinity."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """What ``write_json`` writes; for files in an ``atomic_folder``, which makes them durable itself."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON strictly: size limit, no duplicate keys, no NaN; a fault names line and column.

    Raises:
        InputError: when the file is missing, too large, or not strict JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError("J3", path, f"{path.stat().st_size:,} bytes, the limit is {MAX_JSON_BYTES:,}",
                             "remove what does not belong into this file")
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError("J1", path, "file not found", "check the path") from None
    except json.JSONDecodeError as error:
        raise InputError("J1", path, f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}",
                         "correct the file, or restore it from where it came") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError("J2", path, f"not strict JSON: {error}", "correct the file") from None


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(content: Any) -> str:
    """Hex digest of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN: a number that is not finite becomes null."""
    return value if math.isfinite(value) else None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key '{key}' appears twice")
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
