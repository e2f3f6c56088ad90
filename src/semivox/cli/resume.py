"""``semivox resume``: continue a stopped run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = """
Continue a stopped run from its last checkpoint: the result is that of an uninterrupted run.

Exit code 0 if it was finished already, 7 if there is no usable checkpoint.

Example: `semivox resume RUN`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(resume)


def resume(
    run: Annotated[Path, typer.Argument(help="Folder that `semivox train` wrote.")],
    store: Annotated[Path | None, typer.Option(help="Where the store is now, if it was moved.")] = None,
) -> None:
    """Continue a stopped run."""
    from semivox.cli.train import write_page
    from semivox.engine.train import is_first_process, resume_run

    worked = resume_run(run, store)
    if is_first_process():
        typer.echo(f"finished: {run}" if worked else f"already finished: {run}")
        if worked:
            write_page(run)
