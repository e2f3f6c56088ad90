"""``semivox train``: start a new run on a prepared store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLE = """
Train a segmenter. RUN must be new: nothing is restarted or overwritten.

Example: `semivox train STORE RUN --method mean_teacher --labeled 8 --steps 2000 --set method.ema_decay=0.999`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(train)


def train(
    store: Annotated[Path, typer.Argument(help="Folder that `semivox prepare` wrote.")],
    run: Annotated[Path, typer.Argument(help="New folder for the run.")],
    method: Annotated[str | None, typer.Option(help="Name from `semivox methods`, or package.module:Class.")] = None,
    labeled: Annotated[str | None, typer.Option(help="Number of labeled cases, or 'all'.")] = None,
    labeled_draw: Annotated[int | None, typer.Option(help="Seed that draws them; default: the first of the list.")]
    = None,
    validation: Annotated[int | None, typer.Option(help="Validation cases, from the end of the train list.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of the whole run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order of cases, crops and noise.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes on this machine, one a device.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines (with torchrun or SLURM).")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON of a run, whole or in part.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any config field.")] = None,
) -> None:
    """Collect what the user wishes, strongest last, and train."""
    from semivox.data.store import Store
    from semivox.engine.train import is_first_process, start_run
    from semivox.recipes import merge, nest, parse_settings, resolve

    wishes = read_wishes(config)
    flags = {"method.name": method, "data.labeled": count_of(labeled), "data.labeled_draw": labeled_draw,
             "data.validation": validation, "engine.steps": steps, "seed": seed, "engine.precision": precision,
             "engine.devices": devices, "engine.nodes": nodes}
    for path, value in flags.items():
        if value is not None:
            wishes = merge(wishes, nest(path, None if value == "all" else value))
    wishes = merge(wishes, parse_settings(settings or [], str(wishes.get("method", {}).get("name") or "supervised")))
    require_labeled(wishes)
    opened = Store.open(store)
    finished = start_run(opened, run, resolve(opened.plan, wishes))
    if is_first_process():
        typer.echo(f"finished: {finished.path}")
        write_page(finished.path)
        typer.echo(f"next: semivox predict {run} {store / 'imagesTs'} PREDICTIONS")


def write_page(run: Path) -> None:
    """Write the run's report where it has something to show; a trained run is done, whatever becomes of its page."""
    from semivox.wording import printable

    try:
        from semivox.report.page import write_run_report

        page = write_run_report(run)
    except Exception as error:  # whatever a library raises: the run is finished and its weights are written
        typer.echo(f"no report: {printable(str(error) or type(error).__name__)}", err=True)
        return
    if page is not None:
        typer.echo(f"report: {page}")


def read_wishes(config: Path | None) -> dict[str, Any]:
    """The content of ``--config``.

    Raises:
        UsageError: when it cannot be read, or is not a JSON object of a configuration's sections.
    """
    from semivox.config import require_sections
    from semivox.errors import InputError, UsageError
    from semivox.fsio import read_json

    try:
        content: dict[str, Any] = read_json(config) if config else {}
    except InputError as error:  # a fault of the command line here, not of the data
        raise UsageError(error.code, error.subject, error.problem, error.fix) from None
    require_sections(content, str(config))
    return content


def count_of(labeled: str | None) -> int | str | None:
    """``--labeled`` as a number, or ``"all"``.

    Raises:
        UsageError: for anything else.
    """
    from semivox.errors import UsageError

    if labeled is None or labeled == "all":
        return labeled
    if not labeled.isdecimal() or int(labeled) < 1:
        raise UsageError("C2", "--labeled", f"found {labeled!r}, a number of at least 1 or 'all' is needed",
                         "for example --labeled 8")
    return int(labeled)


def require_labeled(wishes: dict[str, Any]) -> None:
    """Every run says how many labels it uses.

    Raises:
        UsageError: when neither flag nor configuration does.
    """
    from semivox.errors import UsageError

    if "labeled" not in wishes.get("data", {}):
        raise UsageError("C2", "--labeled", "the number of labeled cases is not given",
                         "add --labeled N, or --labeled all")
