"""A comparison in words and tables, before it starts and after it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semivox.compare.board import kind_of
from semivox.compare.estimate import Cost
from semivox.matrix import Matrix, RunSpec, job_of
from semivox.progress import format_duration
from semivox.wording import count_of

if TYPE_CHECKING:
    from rich.table import Table


def matrix_table(out: Path, matrix: Matrix, costs: Mapping[str, Cost]) -> Table:
    """One row for each method and number of labeled cases: seeds, draws, what is done, and what a run takes."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("method", "labeled", "seeds", "steps", "s/step", "a run", "done", box=None, header_style="bold")
    rows: dict[tuple[str, int | str], list[RunSpec]] = {}
    for spec in matrix.runs:
        rows.setdefault(spec.row, []).append(spec)
    for (label, labeled), specs in sorted(rows.items(), key=lambda item: _order(item[1][0], matrix)):
        seeds = ", ".join(map(str, dict.fromkeys(spec.seed for spec in specs)))
        draws = len({spec.draw for spec in specs})
        done = sum(job_of(out / spec.path).state == "done" for spec in specs)
        speed = costs[kind_of(specs[0])].seconds_per_step if kind_of(specs[0]) in costs else None
        steps = specs[0].steps
        table.add_row(escape(label), str(labeled), seeds + f" x {draws} draws" * (draws > 1), str(steps),
                      f"{speed:.2f}" if speed else "", format_duration(speed * steps) if speed else "",
                      f"{done}/{len(specs)}")
    return table


def ground_lines(matrix: Matrix) -> list[str]:
    """The protocol, and every exception from the common ground."""
    asked = matrix.asked
    lines = [f"{matrix.dataset}: {asked['steps']} steps for all, {count_of(matrix.validation, 'validation case')}, "
             f"scored by the last weights, protocol {matrix.protocol}, reference {matrix.reference}."]
    lines += [f"For all runs: {', '.join(asked['set'])}."] * bool(asked["set"])
    if matrix.peek_every:
        lines.append(f"Weights every {matrix.peek_every} steps are kept and scored on the test cases as well: "
                     "the best of these is a leaky number, and marked as one.")
    lines += ["Not alike:"] * bool(matrix.footnotes)
    return lines + [f"- {', '.join(note['methods'])}: {note['text']}" for note in matrix.footnotes]


def cost_line(paths: Sequence[str], matrix: Matrix, seconds: float | None, *, jobs: int) -> str:
    """How much is to be done, and how long it will take."""
    count = count_of(len(matrix.runs), "run")
    if not paths:
        return f"{count}, all done."
    together = f"with --jobs {jobs}"
    takes = f"not known how long {together}" if seconds is None else f"about {format_duration(seconds)} {together}"
    return f"{count}, {len(paths)} to be done: {takes}."


def _order(spec: RunSpec, matrix: Matrix) -> tuple[float, int]:
    """By labeled cases, then as the methods were named; the upper bound last."""
    labeled = float("inf") if spec.labeled == "all" else float(spec.labeled)
    return labeled, [run.label for run in matrix.runs].index(spec.label)
