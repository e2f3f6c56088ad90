"""The run directory: what is where, and one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from semivox.config import RunConfig, config_from_json, config_to_json
from semivox.errors import BusyError, CheckpointError, ResourceError, UsageError
from semivox.fsio import read_json, write_json
from semivox.imaging.plan import Plan, load_plan, plan_to_json
from semivox.matrix import is_job_file


class RunDirectory(NamedTuple):
    """Paths of one run. ``weights.safetensors`` exists only when the run is finished."""

    path: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, accepted by ``--config``."""
        return self.path / "config.json"

    @property
    def plan(self) -> Path:
        """The store's plan: all that prediction needs to know about preparation."""
        return self.path / "plan.json"

    @property
    def run(self) -> Path:
        """Which store the run reads, and the split of its cases."""
        return self.path / "run.json"

    @property
    def environment(self) -> Path:
        """Versions, processor, threads."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def progress(self) -> Path:
        """Picture of all that the run has logged so far, drawn while it trains."""
        return self.path / "progress.png"

    @property
    def curves(self) -> Path:
        """Picture of all that the finished run has logged."""
        return self.path / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """Generations, the last two."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def weights(self) -> Path:
        """Deployed networks of a finished run: always of its last step."""
        return self.path / "weights.safetensors"

    @property
    def weights_best_validation(self) -> Path:
        """Deployed networks of the step with the highest Dice on the validation cases, where a run has some."""
        return self.path / "weights_best_validation.safetensors"

    @property
    def weights_steps(self) -> Path:
        """Deployed networks on the way, where ``engine.keep_weights_every`` asks for them."""
        return self.path / "weights_steps"

    def weights_of_step(self, step: int) -> Path:
        """Deployed networks of one step on the way."""
        return self.weights_steps / f"step_{step:06d}.safetensors"

    def finished(self) -> bool:
        """Whether training has reached its last step."""
        return self.weights.is_file()

    def read_config(self) -> RunConfig:
        """The resolved configuration."""
        self.require()
        return config_from_json(read_json(self.config), str(self.config))

    def read_plan(self) -> Plan:
        """The plan that the run was trained under."""
        self.require()
        return load_plan(self.plan)

    def require(self) -> None:
        """Refuse a folder that is not a run.

        Raises:
            UsageError: when it does not exist or holds no ``config.json``.
        """
        if not self.config.is_file():
            raise UsageError("C6", self.path, "not a run directory (no config.json in it)",
                             "name the folder that `semivox train` wrote")


def create_run(path: Path, config: RunConfig, plan: Plan, origin: dict[str, Any]) -> RunDirectory:
    """Make a new run directory and write what describes the run.

    Raises:
        UsageError: when ``path`` exists and is not an empty folder: nothing is restarted or overwritten.
    """
    refuse_existing(path)
    run = RunDirectory(path)
    try:
        run.checkpoints.mkdir(parents=True)
    except FileExistsError:
        refuse_existing(path)  # another process has made it just now, or there is a file where a folder should be
        raise
    except OSError as error:
        raise ResourceError("C7", path, f"cannot be created ({error.strerror})", "name a folder that can be written") \
            from None
    write_json(run.plan, plan_to_json(plan))
    write_json(run.run, origin)
    write_json(run.config, config_to_json(config))
    return run


def refuse_existing(path: Path) -> None:
    """Training never starts in a place that has something in it; what a job of a comparison notes there is allowed.

    Raises:
        UsageError: names ``resume``.
    """
    if path.exists() and (not path.is_dir() or any(not is_job_file(entry.name) for entry in path.iterdir())):
        raise UsageError("C6", path, "already exists",
                         f"continue it with `semivox resume {path}`, or name a new folder")


@contextmanager
def lock_run(run: RunDirectory) -> Iterator[None]:
    """Hold the run for this process. The kernel drops the lock when the process dies; workers do not inherit it.

    Raises:
        BusyError: when another process holds it.
    """
    with open(run.path / ".lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise BusyError("T22", run.path, f"another process works on this run ({stream.read().strip()})",
                            "wait until it ends, or stop it") from None
        stream.truncate(0)
        stream.write(f"pid {os.getpid()}")
        stream.flush()
        yield


def remove_leftovers(run: RunDirectory) -> None:
    """Delete the weights and pictures that a killed process had begun; for the holder of the run's lock."""
    for begun in (".tmp-*-weights*.safetensors", ".tmp-*-progress.png", ".tmp-*-curves.png", "weights_steps/.tmp-*"):
        for path in run.path.glob(begun):
            path.unlink(missing_ok=True)


def require_same_store(run: RunDirectory, digest: str) -> dict[str, Any]:
    """The run's origin, when the store is the one that it was started on.

    Raises:
        CheckpointError: when the store was prepared anew from other data or another plan.
    """
    origin: dict[str, Any] = read_json(run.run)
    if origin["store_digest"] != digest:
        raise CheckpointError("K9", origin["store"], "the store has changed since the run was started",
                              "restore it, or start a new run")
    return origin
