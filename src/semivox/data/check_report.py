"""The outcome of a check as lines for a person and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semivox.data.check import Check
from semivox.data.problems import SEVERITIES, Problem
from semivox.errors import InputError, UsageError
from semivox.fsio import read_json, write_json
from semivox.wording import count_of, printable

SHOWN = 50
FORMAT = "semivox-check"


def report_lines(check: Check, *, shown: int = SHOWN) -> list[str]:
    """One line for each finding, at most ``shown`` of each severity, then a summary."""
    return [*problem_lines(check.problems, shown=shown), *_summary_lines(check)]


def problem_lines(problems: Sequence[Problem], *, shown: int = SHOWN) -> list[str]:
    """One line for each finding, errors first, at most ``shown`` of each severity."""
    lines = []
    for severity in SEVERITIES:
        found = [problem.line() for problem in problems if problem.severity == severity]
        lines += found[:shown]
        if len(found) > shown:
            lines.append(f"... and {count_of(len(found) - shown, f'more {severity}')} (--out FILE writes all)")
    return lines


def write_report(path: Path, problems: Sequence[Problem], summary: dict[str, Any]) -> None:
    """Write the whole outcome as JSON, atomically."""
    write_json(path, {"format": FORMAT, "version": 1, "summary": {**summary, "problems": _counts(problems)},
                      "problems": [problem._asdict() for problem in problems]})


def refuse_input_file(path: Path, root: Path) -> None:
    """Refuse a report path that would destroy a file of the dataset; an earlier report may be replaced.

    Raises:
        UsageError: C6.
    """
    if path.is_dir():
        raise UsageError("C6", path, "is a folder, expected a file for the report", "add a file name: check.json")
    if path.exists() and path.resolve().is_relative_to(root.resolve()) and not _is_report(path):
        raise UsageError("C6", path, "is a file of the dataset, which is never changed",
                         "choose another file for the report")


def _is_report(path: Path) -> bool:
    try:
        content = read_json(path)
    except InputError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _counts(problems: Sequence[Problem]) -> dict[str, int]:
    return {severity: sum(problem.severity == severity for problem in problems) for severity in SEVERITIES}


def _summary_lines(check: Check) -> list[str]:
    facts = check.summary
    cases = (f"{count_of(facts['labeled'], 'labeled case')}, {facts['unlabeled']} unlabeled, {facts['test']} test "
             f"({facts['test_with_reference']} with a reference)")
    found = ", ".join(count_of(number, severity) for severity, number in _counts(check.problems).items())
    lines = [f"{facts['dataset']} ({facts['layout']}): {cases}",
             f"channels: {', '.join(facts['channels'])}; classes: {', '.join(facts['classes']) or 'not known'}"]
    if facts["shape_min"]:
        lines.append(f"shape {_range(facts['shape_min'], facts['shape_max'])} voxels; spacing "
                     + (f"{_range(facts['spacing_mm_min'], facts['spacing_mm_max'])} mm" if facts["spacing_mm_min"]
                        else "not known"))
    return [printable(line) for line in [*lines, found]]


def _range(low: Sequence[float], high: Sequence[float]) -> str:
    first, last = (" x ".join(f"{value:g}" for value in row) for row in (low, high))
    return first if first == last else f"{first} to {last}"
