"""Work off what a comparison lacks, one run's failure not touching the others, and say what came of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from semivox.compare.board import Status, shown, status_of, statuses, title_of
from semivox.compare.execution import Executor, Options
from semivox.errors import BusyError, PartialFailure, ResourceError, StoppedError
from semivox.matrix import JOB_LOG, Matrix, RunSpec, job_of, write_job
from semivox.progress import format_duration
from semivox.wording import count_of, first_names

AGAIN = "give the same command again"


def missing(out: Path, matrix: Matrix) -> list[str]:
    """Paths of the runs that are not done, in the order of the matrix: what failed is tried again."""
    return [spec.path for spec in matrix.runs if job_of(out / spec.path).state != "done"]


def work_off(out: Path, matrix: Matrix, executor: Executor, options: Options, *, speeds: dict[str, float],
             say: Callable[[str], None]) -> None:
    """Execute the runs that are not done.

    Args:
        out: folder of the comparison.
        matrix: its runs.
        executor: module that starts the processes.
        options: of the executor.
        speeds: seconds per step by the run's path, for the time left.
        say: prints a line for each run that has ended.

    Raises:
        StoppedError: stopped on request.
        PartialFailure: T26, some runs failed.
        BusyError: T22, another process works on some runs.
    """
    codes: dict[str, int] = {}
    with shown(out, matrix, speeds, options.jobs or 1):
        for path, code in executor.execute(out, missing(out, matrix), options):
            codes[path] = code
            say(verdict(out, matrix.run(path), code))
    require_done(out, statuses(out, matrix), codes)


def verdict(out: Path, spec: RunSpec, code: int) -> str:
    """One line about a run that has ended; a process that could not say why it died is noted as failed."""
    name = title_of(spec)
    record = job_of(out / spec.path)
    if code == 0:
        return f"done: {name} ({format_duration(sum(record.seconds.values()))})"
    if code == StoppedError.exit_code:
        return f"stopped: {name}"
    if code == BusyError.exit_code:
        return f"left alone: {name}, another process works on it"
    if record.state != "failed":
        write_job(out / spec.path, record._replace(state="failed", error=killed(spec, code)))
    row = status_of(out, spec)
    error = row.job.error or {}
    return "failed: {}: SVX-{code}  {subject}: {problem}.  Fix: {fix}.".format(name, **error)


def killed(spec: RunSpec, code: int) -> dict[str, object]:
    """The error of a process that was killed, or that could not be started."""
    if code == -signal.SIGKILL:
        cause = "its process was killed, most likely because memory ran out"
        fix = "take fewer --jobs, or a smaller data.patch_size with --set"
    else:
        cause = f"its process ended with exit code {code}"
        fix = f"read {JOB_LOG} in its folder"
    return {"code": "T6", "subject": spec.path, "problem": cause, "fix": fix, "exit_code": ResourceError.exit_code}


def require_done(out: Path, found: Sequence[Status], codes: dict[str, int]) -> None:
    """Give the command the exit code that tells what is left to do.

    Raises:
        PartialFailure, StoppedError, BusyError: in this order, when runs failed, were stopped or are held elsewhere.
    """
    failures = [row for row in found if row.state == "failed" and row.spec.path in codes]
    if failures:
        names = first_names([title_of(row.spec) for row in failures], limit=3)
        raise PartialFailure("T26", out, f"{len(failures)} of {count_of(len(found), 'run')} failed ({names})",
                             f"the lines above say why; to try them again, {AGAIN}")
    ends = list(codes.values())
    if StoppedError.exit_code in ends:
        count = count_of(ends.count(StoppedError.exit_code), "run")
        raise StoppedError("T15", out, f"{count} stopped before the end, everything is saved", AGAIN)
    if BusyError.exit_code in ends:
        count = count_of(ends.count(BusyError.exit_code), "run")
        raise BusyError("T22", out, f"another process works on {count}", f"wait until it ends, then {AGAIN}")
