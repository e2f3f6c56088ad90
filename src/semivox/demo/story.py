"""The whole story on generated scans: every step is a command that works the same on your own data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import semivox
from semivox.demo.scans import write_dataset
from semivox.errors import SemivoxError, StoppedError, UsageError
from semivox.fsio import read_json, write_json
from semivox.progress import format_duration

METHODS = ("supervised", "mean_teacher")
LABELED, TRAIN, TEST = 4, 20, 8
SHAPE, SPACING_MM = (64, 64, 32), (1.9, 1.9, 3.5)
MARKER = "demo.json"

RunCommand = Callable[[Sequence[str]], int]
"""Runs a semivox command line and returns its exit code."""


class StepFailed(SemivoxError):
    """A command of the story failed; the demo ends with its exit code."""

    def __init__(self, verb: str, exit_code: int) -> None:
        super().__init__("C7", "demo", f"`semivox {verb}` ended with exit code {exit_code}",
                         "see the line above; `semivox demo` continues where it stopped")
        self.exit_code = exit_code


class Score(NamedTuple):
    """What a method reached on the test scans."""

    method: str
    dice_percent: float
    dice_std_percent: float
    hd95_mm: float
    missed: int
    overlay: Path


def tell_story(folder: Path, run_command: RunCommand, *, steps: int, say: Callable[[str], None]) -> list[Score]:
    """Generate scans, check, prepare, train two methods on the same labels, predict, evaluate.

    A second call on the same folder continues where the first one stopped.

    Args:
        folder: where everything goes.
        run_command: runs one command line.
        steps: optimizer steps of each training.
        say: prints a line.

    Raises:
        UsageError: when the folder holds something else, or a demo of another length.
    """
    started = time.monotonic()
    data, store = folder / "data", folder / "store"
    claim(folder, {"version": semivox.__version__, "train": TRAIN, "labeled": LABELED, "test": TEST,
                   "shape": list(SHAPE), "spacing_mm": list(SPACING_MM), "steps": steps})
    if not (data / "dataset.json").is_file():
        say(f"generating {TRAIN + TEST} scans, {LABELED} of {TRAIN} training scans with a label: {data}")
        write_dataset(data, train=TRAIN, labeled=LABELED, test=TEST, shape=SHAPE, spacing_mm=SPACING_MM)

    def command(*words: object) -> None:
        line = [str(word) for word in words]
        say(f"\n$ semivox {' '.join(line)}")
        code = run_command(line)
        if code == StoppedError.exit_code:
            raise StoppedError("T15", "demo", f"`semivox {line[0]}` was stopped", "give the same command again")
        if code:
            raise StepFailed(line[0], code)

    command("check", data)
    command("prepare", data, store)
    for method in METHODS:
        run, predictions, scores = folder / "runs" / method, folder / "predictions" / method, folder / "scores" / method
        if any(run.glob("checkpoints/*/MANIFEST.json")):
            command("resume", run)
        else:
            shutil.rmtree(run, ignore_errors=True)  # stopped before its first checkpoint
            command("train", store, run, "--method", method, "--labeled", LABELED, "--steps", steps)
        command("predict", run, store / "imagesTs", predictions, "--overwrite")
        command("evaluate", predictions, store / "labelsTs", "--out", scores, "--images", store / "imagesTs",
                "--overwrite")
    say(f"\nall of it took {format_duration(time.monotonic() - started)}")
    return [read_score(method, folder / "scores" / method) for method in METHODS]


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a new folder as a demo's, or recognize an earlier demo with the same settings.

    Raises:
        UsageError: when the folder holds anything else.
    """
    marker = folder / MARKER
    if marker.is_file() and read_json(marker) == settings:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("C6", folder, "exists and is not a demo with these settings", "name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(marker, settings)


def read_score(method: str, scores: Path) -> Score:
    """The headline of an evaluation: mean and standard deviation over cases, foreground classes averaged."""
    summary = read_json(scores / "summary.json")
    cases = [list(case["metrics"].values()) for case in summary["metric_per_case"]]
    dice = [mean(100 * found["dice"] for found in case if found["dice"] is not None) for case in cases]
    hd95_mm = [mean(found["hd95_mm"] for found in case if found["hd95_mm"] is not None) for case in cases]
    return Score(method, mean(dice), stdev(dice), mean(hd95_mm), summary["n_missed"], scores / "overlay.png")
