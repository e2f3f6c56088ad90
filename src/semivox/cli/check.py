"""``semivox check``: every problem of a dataset folder, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """List every problem of a dataset folder, all at once. Nothing in the folder is changed.

Each line names a file or case and the fix. Exit code 0 when there are only warnings and notes, 3 with errors.

Example: semivox check DATA --out check.json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command("check", help=HELP)(run)


def run(
    data: Annotated[Path, typer.Argument(help="Dataset folder (imagesTr, labelsTr, ...).", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Also write everything found to this JSON file.")] = None,
    patient_regex: Annotated[str | None, typer.Option(
        help="Finds patients in both training and test: the first group is the patient in a case name, "
             "for example '(p[0-9]+)_'.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds one scan and one mask in memory.")] = 2,
) -> None:
    """Check, print what was found, and exit with 3 when there are errors."""
    from semivox.data.check import run_check
    from semivox.data.check_report import refuse_input_file, report_lines, write_report

    if out is not None:
        refuse_input_file(out, data)
    result = run_check(data, patient_regex=patient_regex, workers=workers)
    if out is not None:
        write_report(out, result)
    for line in report_lines(result):
        typer.echo(line)
    if any(problem.severity == "error" for problem in result.problems):
        raise typer.Exit(3)
