"""How far a run is and how fast, read off its ``metrics.jsonl`` while it is being written."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

METRICS = "metrics.jsonl"
RECENT = 20
"""Rows whose median says how fast a run is: the first ones are slower."""


class Pace(NamedTuple):
    """Progress of the training of a run."""

    step: int
    """Steps done."""
    seconds_per_step: float | None
    """Of late; None before the first row."""
    seconds: float
    """Of all steps together, without validation and saving."""


def pace_of(folder: Path) -> Pace:
    """Read the progress of a run; a last line that is not complete yet is left out."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return Pace(0, None, 0.0)
    step, seconds, speeds = 0, 0.0, []
    for line in lines:
        row = _row(line)
        speed = row.get("seconds_per_step")
        if isinstance(speed, int | float):
            seconds += speed * (int(row["step"]) - step)
            step = int(row["step"])
            speeds.append(float(speed))
    return Pace(step, median(speeds[-RECENT:]) if speeds else None, seconds)


def _row(line: str) -> dict[str, int | float]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else {}
