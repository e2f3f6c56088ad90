"""What a page is made of: the collected runs, their rows, the store if it is there, and the style of every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from semivox.errors import InputError, UsageError
from semivox.evaluation.statistics import averaged
from semivox.matrix import ALL, LAST, MATRIX_JSON, Matrix
from semivox.report.collect import Collected, RunRecord, collect, collect_run
from semivox.report.colors import Style, styles_of
from semivox.report.rows import Request, Row, by_repetition
from semivox.report.tables import MainTable, main_table

DICE = "dice"
NOT_SCORED = "its test cases are not predicted and scored"


class Source(NamedTuple):
    """Everything that the sections of a page read."""

    collected: Collected
    table: MainTable
    """Its rows include those without a finished run."""
    contest: tuple[Row, ...]
    """Finished rows with the number of labels that the page is about, the best first."""
    styles: dict[str, Style]
    """By the label of a row."""
    store: Path | None
    """Folder of the prepared store; None when it is not where it was."""
    single: bool
    """Whether the page is about one run."""

    @property
    def matrix(self) -> Matrix:
        """What was asked for."""
        return self.collected.matrix

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, those without a finished run included."""
        return self.table.rows

    @property
    def finished(self) -> list[Row]:
        """Rows with numbers."""
        return [row for row in self.rows if row.runs]

    @property
    def pictured(self) -> list[Row]:
        """Rows of figures and pictures: the contest, and training with all labels."""
        return [*self.contest, *(row for row in self.finished if row.role == "upper_bound" and row not in self.contest)]

    @property
    def any_run(self) -> RunRecord | None:
        """A run that has begun: the first of the contest, else the first that has a configuration."""
        begun = [run for run in self.collected.runs if run.config]
        return self.contest[0].runs[0] if self.contest else begun[0] if begun else None


def read_source(path: Path) -> Source:
    """Read a comparison, or a single run.

    Args:
        path: what ``semivox compare`` or ``semivox train`` wrote.

    Raises:
        UsageError: C6, it is neither.
        InputError: what describes it is damaged.
    """
    if not (path / MATRIX_JSON).is_file() and not (path / "config.json").is_file():
        raise UsageError("C6", path, f"neither a comparison (no {MATRIX_JSON}) nor a run (no config.json)",
                         "name a folder that `semivox compare` or `semivox train` wrote")
    single = not (path / MATRIX_JSON).is_file()
    collected = as_comparison(collect_run(path)) if single else collect(path)
    table = main_table(collected)
    plain_first = sorted(table.rows, key=lambda row: len(row.label))  # a method's own name has the solid line
    styles = styles_of((row.label, row.method) for row in plain_first)
    store = Path(collected.matrix.store)
    return Source(collected, table, tuple(contest_of(table.rows)), styles,
                  store if collected.matrix.store and store.is_dir() else None, single)


def as_comparison(run: RunRecord) -> Collected:
    """A single run as a comparison of nothing but itself."""
    last = run.scores.get(LAST)
    if run.reason is None and last is None:
        run = run._replace(reason=NOT_SCORED)
    origin, spec = run.origin, run.spec
    matrix = Matrix(
        str(run.environment.get("semivox", "")), str(origin.get("name", "")), str(origin.get("store", "")),
        str(origin.get("store_digest", "")), "literature" if last and last.protocol == "literature" else "clinical",
        spec.method, len(origin.get("split", {}).get("validation", ())), None, {}, (spec,), ())
    return Collected(run.folder, matrix, (run,))


def contest_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that the page's answer is about, the best mean Dice first.

    They have the same number of labels and steps: of all such groups the one with most finished rows, of these the one
    with fewest labels.
    """
    groups: dict[tuple[int | str, int], list[Row]] = {}
    for row in rows:
        if row.runs and dice_of(row) is not None:
            groups.setdefault((row.labeled, row.steps), []).append(row)
    if not groups:
        return []
    chosen = min(groups, key=lambda key: (key[0] == ALL, -len(groups[key]), -key[1], key[0] if key[0] != ALL else 0))
    return sorted(groups[chosen], key=lambda row: -(dice_of(row) or 0.0))


def dice_of(row: Row) -> float | None:
    """Mean Dice in percent; None when it is not defined."""
    return row.spread[DICE].mean if DICE in row.spread else None


def case_scores(row: Row, measure: str) -> dict[str, float]:
    """Case to score, averaged over seeds and draws; empty when runs have scores of different cases."""
    try:
        return averaged(dict(by_repetition(row.runs, LAST, Request((measure,)), measure))).values
    except InputError:
        return {}
