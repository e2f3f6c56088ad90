"""``semivox check``: every problem of a dataset folder, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

HELP = """List every problem of a dataset folder, all at once. Nothing in the folder is changed.

Each line names a file or case and the fix. Exit code 0 when there are only warnings and notes, 3 with errors.
Of a prepared store every file is compared with its recorded checksum.

Example: semivox check DATA --out check.json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command("check", help=HELP)(run)


def run(
    data: Annotated[Path, typer.Argument(help="Dataset folder (imagesTr, labelsTr, ...), or a prepared store.",
                                         show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Also write everything found to this JSON file.")] = None,
    patient_regex: Annotated[str | None, typer.Option(
        help="Finds patients in both training and test; the first group is the patient in a case name, "
             "for example '(p[0-9]+)_'.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds one scan and one mask in memory.")] = 2,
) -> None:
    """Check, print what was found, and exit with 3 when there are errors."""
    from semivox.data.check import run_check
    from semivox.data.check_report import problem_lines, refuse_input_file, report_lines, write_report
    from semivox.data.check_store import check_store, is_store
    from semivox.errors import UsageError

    if out is not None:
        refuse_input_file(out, data)
    summary: dict[str, Any]
    if is_store(data):
        if patient_regex is not None:
            raise UsageError("C3", "--patient-regex", "given for a prepared store, whose files alone are checked",
                             "give the dataset folder, or leave the option out")
        problems, summary = check_store(data), {"store": str(data)}
        lines = problem_lines(problems) or ["every file of the store is as it was written"]
    else:
        result = run_check(data, patient_regex=patient_regex, workers=workers)
        problems, summary, lines = list(result.problems), result.summary, report_lines(result)
    if out is not None:
        write_report(out, problems, summary)
    for line in lines:
        typer.echo(line)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(3)
