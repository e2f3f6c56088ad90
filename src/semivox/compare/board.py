"""What a person sees while runs are worked off: state, step and time left of each, on a terminal or as log lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from semivox.compare.pace import pace_of
from semivox.matrix import JobRecord, Matrix, RunSpec, State, job_of
from semivox.progress import format_duration
from semivox.wording import count_of

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_S, LINE_S = 2.0, 60.0
WORKING = ("training", "predicting", "evaluating")
COLORS = {"done": "green", "failed": "red", "stopped": "yellow", "waiting": "dim"}
SHOWN = 30
"""Rows of the table on a terminal; those that wait or are done are left out first."""


class Status(NamedTuple):
    """How far one run is."""

    spec: RunSpec
    job: JobRecord
    step: int
    seconds_left: float | None
    """Of its training at its present speed; None when that is not known."""
    speed: float | None = None
    """Seconds per step that it takes, or took."""

    @property
    def state(self) -> State:
        """State of its job."""
        return self.job.state


def kind_of(spec: RunSpec) -> str:
    """What runs have in common that take the same: method and variant, whatever the draw."""
    return f"{spec.method} {spec.variant.partition('-draw_')[0]}"


def title_of(spec: RunSpec) -> str:
    """A run in words: ``CAML without OCC, 8 labeled, draw 1, seed 0``."""
    draw = "" if spec.draw is None else f", draw {spec.draw}"
    return f"{spec.label}, {spec.labeled} labeled{draw}, seed {spec.seed}"


def status_of(out: Path, spec: RunSpec) -> Status:
    """Read how far a run is."""
    job = job_of(out / spec.path)
    pace = pace_of(out / spec.path)
    if job.state == "done":
        return Status(spec, job, spec.steps, 0.0, pace.seconds_per_step)
    left = None if pace.seconds_per_step is None else (spec.steps - pace.step) * pace.seconds_per_step
    return Status(spec, job, pace.step, left, pace.seconds_per_step)


def statuses(out: Path, matrix: Matrix) -> list[Status]:
    """How far all runs are."""
    return [status_of(out, spec) for spec in matrix.runs]


def state_table(found: Sequence[Status], *, limit: int | None = None) -> Table:
    """One row a run: what it is, its state, step, and time left or the error that ended it.

    Args:
        found: how far the runs are.
        limit: most rows; those at work and failed come first then.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table("method", "labeled", "seed", "state", "step", "", box=None, header_style="bold")
    rows = list(found)
    if limit is not None and len(rows) > limit:
        urgent = sorted(rows, key=lambda row: (row.state in ("done", "waiting"), row.state == "waiting"))[:limit]
        rows = [row for row in rows if row in urgent]
    for row in rows:
        spec, color = row.spec, COLORS.get(row.state, "cyan")
        seed = str(spec.seed) if spec.draw is None else f"{spec.seed}, draw {spec.draw}"
        table.add_row(escape(spec.label), str(spec.labeled), seed, f"[{color}]{row.state}[/]",
                      f"{row.step}/{spec.steps}", escape(remark(row)))
    if len(rows) < len(found):
        table.caption = f"and {len(found) - len(rows)} more"
    return table


def remark(row: Status) -> str:
    """The last cell: the error, or the time that is left or was needed."""
    if row.job.error is not None:
        return "SVX-{code}  {subject}: {problem}".format_map(row.job.error)
    if row.state == "training" and row.seconds_left is not None:
        return f"{format_duration(row.seconds_left)} left"
    if row.state == "done":
        return format_duration(sum(row.job.seconds.values()))
    return ""


def summary_line(found: Sequence[Status], seconds_left: float | None) -> str:
    """One line for a log: ``Comparing: 3/8 runs, 1 failed, CAML ... 120/2000, 1:20:00 left``."""
    done = sum(row.state == "done" for row in found)
    failures = sum(row.state == "failed" for row in found)
    parts = [f"Comparing: {done}/{count_of(len(found), 'run')}"]
    parts += [f"{failures} failed"] * bool(failures)
    parts += [f"{title_of(row.spec)} {row.state} {row.step}/{row.spec.steps}" for row in found if row.state in WORKING]
    return ", ".join(parts + ([] if seconds_left is None else [f"{format_duration(seconds_left)} left"]))


def seconds_left(found: Sequence[Status], speeds: dict[str, float], jobs: int) -> float | None:
    """Time until all training is done; None if the speed of a run is not known.

    A run goes on at its own speed, or starts at that of others of its kind, or at the estimated one.

    Args:
        found: how far the runs are.
        speeds: seconds per step by the run's path, measured or estimated.
        jobs: runs at the same time.
    """
    total, longest = 0.0, 0.0
    seen = {kind_of(row.spec): row.speed for row in found if row.speed is not None}
    for row in found:
        if row.state in ("done", "failed"):
            continue
        speed = seen.get(kind_of(row.spec), speeds.get(row.spec.path))
        left = row.seconds_left
        if left is None and speed is not None:
            left = (row.spec.steps - row.step) * speed
        if left is None:
            return None
        total, longest = total + left, max(longest, left)
    return max(total / jobs, longest)


@contextmanager
def shown(out: Path, matrix: Matrix, speeds: dict[str, float], jobs: int) -> Iterator[None]:
    """Show the progress of all runs on stderr while the block runs: a live table, or a line a minute in a log."""
    done = threading.Event()

    def left(found: Sequence[Status]) -> float | None:
        return seconds_left(found, speeds, jobs)

    if sys.stderr.isatty():
        with _live_table(out, matrix, left):
            yield
        return

    def lines() -> None:
        while not done.wait(LINE_S):
            found = statuses(out, matrix)
            sys.stderr.write(summary_line(found, left(found)) + "\n")
            sys.stderr.flush()

    writer = threading.Thread(target=lines, daemon=True)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


@contextmanager
def _live_table(out: Path, matrix: Matrix, left: Callable[[Sequence[Status]], float | None]) -> Iterator[None]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    def picture() -> Group:
        found = statuses(out, matrix)
        return Group(state_table(found, limit=SHOWN), Text(summary_line(found, left(found))))

    with Live(get_renderable=picture, console=Console(stderr=True), refresh_per_second=1 / REFRESH_S, transient=True):
        yield
