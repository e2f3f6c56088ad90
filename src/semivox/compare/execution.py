"""What executors have in common: they start one process for each run and say how each of them ended.

An executor is a module with ``execute(out, run_paths, options) -> Iterator[(run path, exit code)]``. It yields each run
once, when it has ended; a driver that is asked to stop ends the processes and raises ``StoppedError``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from semivox.errors import UsageError, did_you_mean

EXECUTORS = {"local": "semivox.compare.local", "slurm": "semivox.compare.slurm", "ray": "semivox.compare.ray_cluster"}
JOB_MODULE = "semivox.compare.job"


class Options(NamedTuple):
    """How the runs are executed; nothing of it changes what is computed but the number of threads."""

    jobs: int = 1
    """Runs at the same time."""


class Executor(Protocol):
    """The interface of an executor's module."""

    def execute(self, out: Path, run_paths: Sequence[str], options: Options) -> Iterator[tuple[str, int]]:
        """Work off the runs; yield the path and the exit code of each when it has ended."""


def get_executor(name: str) -> Executor:
    """Import the module of an executor.

    Raises:
        UsageError: C1, there is none of this name.
        ResourceError: C8, a package that it needs is not installed.
    """
    if name not in EXECUTORS:
        raise UsageError("C1", f"--executor {name}", "unknown executor", did_you_mean(name, EXECUTORS))
    return cast(Executor, importlib.import_module(EXECUTORS[name]))


def job_command(out: Path, run_path: str, python: str = sys.executable) -> list[str]:
    """The command that works off one run; the same one continues it."""
    return [python, "-m", JOB_MODULE, str(out), run_path]
