"""The runs of a comparison on this machine: some processes at a time, the threads divided between them."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from semivox.compare.execution import Options, job_command
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.engine.stopping import StopRequest, stop_on_signals
from semivox.errors import StoppedError
from semivox.matrix import JOB_LOG

POLL_S = 0.1
REPEAT_S, PATIENCE_S = 10.0, 600.0
"""A run is asked to stop every ``REPEAT_S`` seconds and killed after ``PATIENCE_S``: its checkpoint stays."""
THREADS_VARIABLE = "OMP_NUM_THREADS"


def execute(out: Path, run_paths: Sequence[str], options: Options) -> Iterator[tuple[str, int]]:
    """Work off the runs, ``options.jobs`` at a time (one, if it is not said), in their order.

    Args:
        out: folder of the comparison.
        run_paths: runs relative to it.
        options: how many at a time.

    Yields:
        Run path and exit code, when the run has ended.

    Raises:
        StoppedError: T15, a signal asked to stop; all runs are saved.
    """
    waiting, running, jobs = deque(run_paths), dict[str, subprocess.Popen[bytes]](), options.jobs or 1
    with stop_on_signals() as stop:
        try:
            while (waiting and not stop) or running:
                while waiting and not stop and len(running) < jobs:
                    path = waiting.popleft()
                    running[path] = start(out, path, jobs)
                time.sleep(POLL_S)
                yield from ended(running)
                if stop:
                    yield from end(running)
        except BaseException:  # the one who works with the results gave up, or a second Ctrl-C
            for process in running.values():
                process.kill()
            raise
    if stop:
        raise stopped(out, stop)


def start(out: Path, path: str, jobs: int) -> subprocess.Popen[bytes]:
    """Start the process of a run, in a session of its own: Ctrl-C reaches this process alone, which asks it to stop."""
    folder = out / path
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / JOB_LOG, "ab") as log:
        return subprocess.Popen(job_command(out, path), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=environment(os.environ, jobs), start_new_session=True)


def environment(inherited: Mapping[str, str], jobs: int) -> dict[str, str]:
    """The variables of a job: the process without which it ends, and its share of the threads."""
    threads = {} if jobs == 1 else {THREADS_VARIABLE: str(threads_of(jobs))}
    return {**inherited, DRIVER_VARIABLE: str(os.getpid()), **threads}


def threads_of(jobs: int) -> int:
    """CPU threads of each of so many runs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def ended(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[tuple[str, int]]:
    """Take out the runs whose process has ended."""
    for path, process in list(running.items()):
        if process.poll() is not None:
            del running[path]
            yield path, process.returncode


def end(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[tuple[str, int]]:
    """Ask the runs to stop, and wait until they have saved themselves."""
    started = asked = time.monotonic()
    for process in running.values():
        process.terminate()
    while running:
        time.sleep(POLL_S)
        yield from ended(running)
        now = time.monotonic()
        for process in running.values():
            if now - started > PATIENCE_S:
                process.kill()
            elif now - asked > REPEAT_S:  # the first request may have met the last step of the training
                process.terminate()
        asked = now if now - asked > REPEAT_S else asked


def stopped(out: Path, stop: StopRequest) -> StoppedError:
    """What a stopped comparison ends with."""
    return StoppedError("T15", out, f"stopped by {stop.signal_name}, the runs are saved", "give the same command again")
