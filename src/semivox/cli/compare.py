"""``semivox compare``: many runs under one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from semivox.compare.estimate import Cost
    from semivox.errors import PartialFailure
    from semivox.matrix import Matrix

EXAMPLE = """
Train, predict and score a matrix of runs, with both bounds, and write a report. The same command continues it.

METHODS are names from `semivox methods`: `caml`, `caml:released` (a profile), `caml-occ` (without a component),
`caml+optimizer.lr=0.005` (a setting).

Example: `semivox compare STORE OUT --methods mean_teacher,caml --labeled 4,8 --seeds 0,1 --steps 2000`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(compare)


def compare(
    store: Annotated[Path, typer.Argument(help="Folder that `semivox prepare` wrote.")],
    out: Annotated[Path, typer.Argument(help="Folder of the comparison: new, or one to continue or extend.")],
    *,
    methods: Annotated[str | None, typer.Option(help="Methods, with commas; `supervised` is always there.")] = None,
    labeled: Annotated[str | None, typer.Option(help="Numbers of labeled cases, with commas; 'all' is one.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, with commas; default: 0.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Labeled subsets: the stored order, then random ones; "
                                              "default: 1.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of every run; default: 6000.")] = None,
    validation: Annotated[int | None, typer.Option(min=0, help="Validation cases of every run; default: 0.")] = None,
    protocol: Annotated[str | None, typer.Option(help="clinical (mm) or literature (voxels); default: clinical where "
                                                 "the spacing is known.")] = None,
    reference: Annotated[str | None, typer.Option(help="Method that the others are compared with; "
                                                  "default: supervised.")] = None,
    show_test_peeking: Annotated[int | None, typer.Option(
        min=1, metavar="K", help="Also score the weights of every K steps on the test cases; marked as leaky.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE",
                                                       help="Any config field, for all runs.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at the same time; default: 1, on a cluster as many "
                                             "as there is room for.")] = None,
    executor: Annotated[str, typer.Option(help="local, slurm or ray.")] = "local",
    slurm_options: Annotated[str | None, typer.Option(
        help='Options of sbatch, for example "--time=12:00:00 --partition=gpu".')] = None,
    ray_options: Annotated[str | None, typer.Option(help='For each run: "cpus=4 gpus=1 retries=3".')] = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Print the matrix and its cost, no more.")] = False,
) -> None:
    """Plan the matrix, show what it takes, run what is missing, and write the report."""
    from semivox.compare.drive import missing, work_off
    from semivox.compare.entries import split_entries
    from semivox.compare.estimate import estimate, require_memory, speeds_of, total_seconds
    from semivox.compare.execution import Options, get_executor
    from semivox.compare.extend import commit, plan_into
    from semivox.compare.present import cost_line
    from semivox.data.store import Store
    from semivox.errors import PartialFailure

    module = get_executor(executor)
    options = Options(jobs, settings_of(executor, {"slurm": slurm_options, "ray": ray_options}))
    if executor != "local":
        module.require_usable(options)
    opened = Store.open(store)
    given = {"methods": tuple(split_entries(methods)) if methods is not None else None,
             "labeled": counts_of(labeled), "seeds": seeds_of(seeds), "draws": draws, "steps": steps,
             "validation": validation, "protocol": protocol, "reference": reference,
             "peek_every": show_test_peeking, "settings": tuple(settings) if settings else None}
    matrix = plan_into(out, opened, given)
    paths, together, here = missing(out, matrix), options.jobs or 1, executor == "local"
    costs = estimate(out, matrix, paths, jobs=together, here=here)
    show_plan(out, matrix, costs)
    typer.echo(cost_line(paths, matrix, total_seconds(out, matrix, paths, costs, jobs=together), jobs=together))
    if plan_only:
        return
    warning = require_memory(paths, matrix, costs, jobs=together)
    if warning:
        typer.echo(f"WARNING SVX-C9  --jobs: {warning}.", err=True)
    matrix = commit(out, opened, matrix)
    failure = None
    if paths and executor == "slurm":
        typer.echo(module.submit(out, paths, options))
    elif paths:
        try:
            work_off(out, matrix, module, options, speeds=speeds_of(matrix, costs), say=say)
        except PartialFailure as error:
            failure = error
    finish(out, matrix, failure)


def show_plan(out: Path, matrix: Matrix, costs: Mapping[str, Cost]) -> None:
    """Print the matrix, its ground, and what is not alike."""
    from rich.console import Console

    from semivox.compare.present import ground_lines, matrix_table

    console = Console()
    console.print(matrix_table(out, matrix, costs))
    for line in ground_lines(matrix):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def finish(out: Path, matrix: Matrix, failure: PartialFailure | None) -> None:
    """Conclude; what goes wrong there never hides that runs have failed.

    Raises:
        PartialFailure: ``failure``, where there is one.
    """
    from semivox.wording import printable

    if failure is None:
        conclude(out, matrix)
        return
    try:
        conclude(out, matrix)
    except Exception as error:  # of a template or a picture: the exit code belongs to the runs
        typer.echo(f"WARNING: no report: {printable(str(error) or type(error).__name__)}", err=True)
    raise failure


def conclude(out: Path, matrix: Matrix) -> None:
    """Print the state of all runs, and write the report on those that are done."""
    from rich.console import Console

    from semivox.compare.board import state_table, statuses
    from semivox.report.page import write_report

    found = statuses(out, matrix)
    Console().print(state_table(found))
    if any(row.state == "done" for row in found):
        typer.echo(f"report: {write_report(out)}")


def say(line: str) -> None:
    """A line about a run that has ended, above the live table."""
    typer.echo(line, err=True)


def settings_of(executor: str, given: Mapping[str, str | None]) -> str:
    """What the user says to the executor that is used.

    Raises:
        UsageError: C3, something is said to another one.
    """
    from semivox.errors import UsageError

    for name, text in given.items():
        if text and name != executor:
            raise UsageError("C3", f"--{name}-options", f"found with --executor {executor}", f"add --executor {name}")
    return given.get(executor) or ""


def counts_of(text: str | None) -> tuple[int | str, ...] | None:
    """``--labeled`` as numbers and ``all``.

    Raises:
        UsageError: C2, anything else.
    """
    from semivox.cli.train import count_of

    if text is None:
        return None
    return tuple(count for part in text.split(",") if (count := count_of(part.strip())) is not None)


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """``--seeds`` as numbers.

    Raises:
        UsageError: C2, anything else.
    """
    from semivox.errors import UsageError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError("C2", "--seeds", f"found {text!r}, whole numbers with commas between them are needed",
                         "for example --seeds 0,1,2")
    return tuple(map(int, parts))
