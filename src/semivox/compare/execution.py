"""What executors have in common: they start one process for each run and say how each of them ended.

An executor is a module with ``execute(out, run_paths, options)``, which yields each run once with its exit code when it
has ended; asked to stop, it ends the processes and raises ``StoppedError``. The one of SLURM does not wait for its
runs: it has ``submit`` instead of ``execute``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from semivox.errors import UsageError, did_you_mean

EXECUTORS = {"local": "semivox.compare.local", "slurm": "semivox.compare.slurm", "ray": "semivox.compare.ray_cluster"}
JOB_MODULE = "semivox.compare.job"


class Options(NamedTuple):
    """How the runs are executed; nothing of it changes what is computed but the number of threads."""

    jobs: int | None = None
    """Runs at the same time; None: one on this machine, as many as there is room for on a cluster."""
    settings: str = ""
    """What the user says to the cluster: options of sbatch, or what a run takes of a Ray cluster."""


class Executor(Protocol):
    """The interface of an executor's module that waits for its runs."""

    def execute(self, out: Path, run_paths: Sequence[str], options: Options) -> Iterator[tuple[str, int]]:
        """Work off the runs; yield the path and the exit code of each when it has ended."""


def get_executor(name: str) -> Any:
    """Import the module of an executor.

    Raises:
        UsageError: C1, there is none of this name.
    """
    if name not in EXECUTORS:
        raise UsageError("C1", f"--executor {name}", "unknown executor", did_you_mean(name, EXECUTORS))
    return importlib.import_module(EXECUTORS[name])


def job_command(out: Path, run_path: str, python: str = sys.executable) -> list[str]:
    """The command that works off one run; the same one continues it."""
    return [python, "-m", JOB_MODULE, str(out), run_path]
