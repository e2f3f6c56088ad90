"""What tests of runs are made of: a tiny configuration, a stop after a given step, and what a run has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semivox.config import RunConfig
from semivox.data.store import Store
from semivox.engine import loop
from semivox.engine.rundir import RunDirectory
from semivox.engine.train import start_run
from semivox.errors import StoppedError
from semivox.fsio import sha256_file
from semivox.methods import get_method
from semivox.recipes import merge, nest, resolve

TINY = {
    "network": {"width": 4},
    "data": {"labeled": 2, "patch_size": [16, 16, 16], "labeled_per_batch": 2, "workers": 0},
    "engine": {"steps": 6, "save_every": 2, "log_every": 1, "threads": 1, "precision": "fp32"},
}
"""A run of 6 steps that takes about a second."""

TIMING = ("seconds_per_step", "data_wait_share", "patches_per_second", "peak_memory_mb")
"""Entries of a row of metrics that differ from run to run."""


def tiny_wishes(method: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A tiny run of ``method``; ``changes`` are dotted paths to values."""
    wishes = {**TINY, "method": {"name": method}}
    if ":" not in method:  # two samples are left where halves of the batch are mixed
        wishes = merge(wishes, {"data": {"labeled_per_batch": 2 * get_method(method).samples_multiple}})
    for path, value in (changes or {}).items():
        wishes = merge(wishes, nest(path, value))
    return wishes


def tiny_config(store: Store, method: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """The resolved configuration of ``tiny_wishes``."""
    return resolve(store.plan, tiny_wishes(method, changes))


def train(store: Store, path: Path, method: str, changes: dict[str, Any] | None = None) -> RunDirectory:
    """Train a tiny run to its end."""
    return start_run(store, path, tiny_config(store, method, changes))


def train_and_stop(store: Store, path: Path, method: str, *, after: int, changes: dict[str, Any] | None = None) -> None:
    """Train a tiny run and ask it to stop in the way a signal does, after a number of steps."""
    step = loop.train_step

    def step_then_ask(training: loop.Training, *arguments: Any) -> None:
        step(training, *arguments)
        if training.step + 1 == after:
            training.stop.signal_name = "SIGTERM"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", step_then_ask)
        with pytest.raises(StoppedError):
            train(store, path, method, changes)


def weights_of(run: RunDirectory | Path) -> str:
    """Digest of the deployed weights' file."""
    return sha256_file(RunDirectory(Path(getattr(run, "path", run))).weights)


def rows_of(run: RunDirectory | Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics, every line of it."""
    path = RunDirectory(Path(getattr(run, "path", run))).metrics
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def untimed_rows_of(run: RunDirectory | Path) -> list[dict[str, Any]]:
    """The rows without what differs from run to run."""
    return [{key: value for key, value in row.items() if key not in TIMING} for row in rows_of(run)]


def generations_of(run: RunDirectory | Path) -> list[int]:
    """Steps of the complete checkpoints."""
    folder = RunDirectory(Path(getattr(run, "path", run))).checkpoints
    return sorted(int(file.parent.name) for file in folder.glob("[0-9]*/MANIFEST.json"))


def environment_of_commands() -> dict[str, str]:
    """Environment in which ``python -m semivox`` is the package that is tested, with one thread."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}


def command(*arguments: object) -> list[str]:
    """``python -m semivox ...``."""
    return [sys.executable, "-m", "semivox", *map(str, arguments)]


def train_command(store: Path, run: Path, method: str, changes: dict[str, Any] | None = None) -> list[str]:
    """The command of a tiny run."""
    wishes = tiny_wishes(method, changes)
    flat = {f"{section}.{key}": value for section, values in wishes.items() for key, value in values.items()}
    name = flat.pop("method.name")
    settings = [part for key, value in flat.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return command("train", store, run, "--method", name, *settings)


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output in a file (a pipe would wait for orphaned workers)."""
    with open(log, "ab") as stream:
        return subprocess.Popen(arguments, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                                env=environment_of_commands(), start_new_session=True)


def finish(arguments: Sequence[str], log: Path, *, timeout_s: float = 300) -> int:
    """Run a command to its end; its exit code."""
    process = start(arguments, log)
    try:
        return process.wait(timeout_s)
    finally:
        process.kill()


def wait_until(condition: Any, process: subprocess.Popen[bytes], *, timeout_s: float = 300) -> None:
    """Wait until ``condition()`` holds; fails when the process ends first."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} before that"
        assert time.monotonic() < until, "took too long"
        time.sleep(0.01)
