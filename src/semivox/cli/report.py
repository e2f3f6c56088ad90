"""``semivox report``: one HTML file that says in words what a comparison or a run has shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = """
Write the report of a comparison or of a single run: one HTML file without anything from the network.

A comparison gets its tables as CSV, Markdown and LaTeX beside it, too. Example: `semivox report OUT`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report", help=EXAMPLE)(report)


def report(
    path: Annotated[Path, typer.Argument(metavar="OUT|RUN", help="What `semivox compare` or `semivox train` wrote.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML file; default: report.html in the folder.")]
    = None,
) -> None:
    """Read the runs, write the page, and say where it is."""
    from semivox.report.page import write_report

    typer.echo(f"report: {write_report(path, out)}")
