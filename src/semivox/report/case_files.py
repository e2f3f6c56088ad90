"""Where the test scans and their references lie in a store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from semivox.errors import SemivoxError
from semivox.evaluation.pairs import label_maps
from semivox.imaging.naming import split_channel


class ScannedCase(NamedTuple):
    """Files of a test case."""

    name: str
    scans: tuple[Path, ...]
    """One a channel, in the order of their numbers; empty when the images are not there."""
    reference: Path


def find_cases(store: Path | None) -> list[ScannedCase]:
    """Test cases with a reference, by name; none when the store is not there."""
    if store is None:
        return []
    references, images = _files(store / "labelsTs"), _files(store / "imagesTs")
    scans: dict[str, list[tuple[int, Path]]] = {}
    for stem, path in images.items():
        channel = None if stem in references else split_channel(stem)
        name, number = (stem, 0) if channel is None else (channel.case, channel.channel)
        scans.setdefault(name, []).append((number, path))
    return [ScannedCase(name, tuple(path for _, path in sorted(scans.get(name, []))), path)
            for name, path in references.items()]


def _files(folder: Path) -> dict[str, Path]:
    try:
        return label_maps(folder)
    except SemivoxError:
        return {}
