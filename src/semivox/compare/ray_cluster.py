"""The runs of a comparison on several machines with Ray: one task a run; a lost machine's run goes on elsewhere.

All machines see the folder of the comparison and the store under the same path. A run that is started again on another
machine continues at its last checkpoint.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from semivox.compare.execution import Options, job_command
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.engine.stopping import stop_on_signals
from semivox.errors import BusyError, ResourceError, StoppedError, UsageError
from semivox.matrix import JOB_LOG, read_job, write_job

CPUS = 4
"""Cores for a run unless the user says otherwise or no machine has as many."""
LOST = ResourceError.exit_code
"""Exit code of a run whose machines were lost more often than it may be started again."""
BUSY_PAUSE_SECONDS, BUSY_TRIES = 10.0, 5
"""The lock of a process on a lost machine outlives it for some time on a network file system."""
POLL_SECONDS, STOP_SECONDS = 0.2, 60.0


class Demand(NamedTuple):
    """What each run takes of the cluster."""

    cpus: int | None = None
    """Cores for each run, and its threads; None: 4, or what the machines have."""
    gpus: float | None = None
    """GPUs for each run; None: one where there are any."""
    retries: int = 3
    """How often a run is started again when its machine is lost."""


def require_usable(options: Options) -> None:
    """Refuse before anything is planned what ``execute`` would refuse.

    Raises:
        UsageError: C8, Ray is not installed; C1 or C2, settings that are not known or not numbers.
    """
    read_demand(options.settings)
    import_ray()


def execute(out: Path, run_paths: Sequence[str], options: Options) -> Iterator[tuple[str, int]]:
    """Work off the runs on the cluster that ``RAY_ADDRESS`` names, or the one of this machine, or a new one here.

    Args:
        out: folder of the comparison, on a file system that all machines see.
        run_paths: runs relative to it.
        options: how many at the same time, and what each takes (see ``read_demand``).

    Yields:
        Run path and exit code, when the run has ended: 5 when its machines were lost.

    Raises:
        UsageError: C8, Ray is not installed; C3, no machine has what a run takes.
        ResourceError: C8, the cluster does not answer.
        StoppedError: T15, this process was asked to stop.
    """
    asked, ray, out = read_demand(options.settings), import_ray(), out.resolve()
    todo, waiting = deque(run_paths), dict[Any, str]()
    with connected(ray), stop_on_signals() as stop:  # in this order: Ray has a handler of its own for SIGTERM
        cpus, gpus = resources(ray.nodes(), asked)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=asked.retries, scheduling_strategy="SPREAD")(
            run_job)
        try:
            while (todo or waiting) and not stop:
                while todo and len(waiting) < (options.jobs or len(run_paths)):
                    path = todo.popleft()
                    _, *arguments = job_command(out, path)  # each machine has a Python of its own
                    waiting[task.remote(arguments, str(out / path / JOB_LOG), cpus)] = path
                for ended in ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)[0]:
                    path = waiting.pop(ended)
                    yield path, exit_code(ray, ended, out / path)
        finally:
            for unfinished in waiting:
                ray.cancel(unfinished)
            if waiting:  # time for the runs to save themselves
                ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_SECONDS)
    if stop:
        raise StoppedError("T15", out, f"stopped by {stop.signal_name}, the runs are saved",
                           "give the same command again")


def run_job(arguments: Sequence[str], log: str, threads: int) -> int:
    """Work off one run on the machine that this is called on; return its exit code.

    The job ends with this process, so that it does not go on where nobody waits for it. While another process holds
    the run, it is tried again for some minutes.

    Args:
        arguments: what Python is called with.
        log: file that its output is appended to.
        threads: its number of threads.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(BUSY_TRIES)):
        with open(log, "ab") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                env=job_environment(os.environ, threads))
            try:
                while process.poll() is None:  # Ray's request to stop does not end a blocking wait
                    time.sleep(POLL_SECONDS)
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if process.returncode != BusyError.exit_code or not left:
            break
        time.sleep(BUSY_PAUSE_SECONDS)
    return process.returncode


def job_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """The variables of a job: its threads, the process that it ends with, and nothing of SLURM around the cluster.

    Lightning takes the number of processes from SLURM's variables, but a run is one process on one machine.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("SLURM_")}
    return {**kept, DRIVER_VARIABLE: str(os.getpid()), "OMP_NUM_THREADS": str(threads)}


def resources(nodes: Sequence[Mapping[str, Any]], asked: Demand) -> tuple[int, float]:
    """CPUs and GPUs of a task: as asked, else what suits the cluster.

    Args:
        nodes: what ``ray.nodes()`` gives.
        asked: what the user wants.

    Raises:
        UsageError: C3, no machine has it: the task would wait for ever.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = asked.gpus if asked.gpus is not None else float(any(machine.get("GPU", 0) for machine in alive))
    most = max((int(machine.get("CPU", 0)) for machine in alive if machine.get("GPU", 0) >= gpus), default=0)
    cpus = asked.cpus or max(1, min(CPUS, most))
    if cpus > most:
        found = ", ".join(sorted({f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs"
                                  for machine in alive}))
        raise UsageError("C3", "--ray-options", f"a run takes {cpus} CPUs and {gpus:g} GPUs, the machines have {found}",
                         "ask for less with --ray-options \"cpus=1 gpus=0\", or add a machine with `ray start`")
    return cpus, gpus


def read_demand(text: str) -> Demand:
    """What ``--ray-options`` says: for example ``"cpus=4 gpus=0.5 retries=5"``.

    Raises:
        UsageError: C1, another name; C2, not a number, or one that is too small.
    """
    kinds: dict[str, tuple[Callable[[str], float], int]] = {"cpus": (int, 1), "gpus": (float, 0), "retries": (int, 0)}
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in kinds:
            raise UsageError("C1", "--ray-options", f"found {word!r}, known are {', '.join(kinds)}",
                             "for example --ray-options \"cpus=4 gpus=1\"")
        kind, least = kinds[name]
        try:
            found[name] = kind(value)
        except ValueError:
            found[name] = -1
        if not least <= found[name] < 1e6:
            raise UsageError("C2", "--ray-options", f"found {word!r}, expected a number of at least {least}",
                             f"for example {name}={max(least, 1)}")
    return Demand(**found)


def exit_code(ray: Any, ended: Any, folder: Path) -> int:
    """Of a task that has ended. Of one that Ray gave up: 5, and its ``job.json`` says so, as the job could not."""
    try:
        return int(ray.get(ended))
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [""]
        write_job(folder, read_job(folder)._replace(state="failed", error={
            "code": "T6", "subject": folder.name, "fix": "give the same command again",
            "problem": f"Ray lost it: {type(error).__name__} {lines[-1]}".rstrip(". "), "exit_code": LOST}))
        return LOST


@contextmanager
def connected(ray: Any) -> Iterator[None]:
    """Be connected to a cluster for the time of the block.

    Raises:
        ResourceError: C8, the one that ``RAY_ADDRESS`` or the last ``ray start`` names does not answer.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
        raise ResourceError("C8", "Ray cluster", reason,
                            "set RAY_ADDRESS to HOST:6379 of the machine with `ray start --head`, or to local to use "
                            "this machine alone") from None
    try:
        yield
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """Import Ray, which is optional.

    Raises:
        UsageError: C8, it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("C8", "--executor ray", "Ray is not installed",
                         "pip install 'semivox[cluster]', on every machine of the cluster") from None
    return ray
