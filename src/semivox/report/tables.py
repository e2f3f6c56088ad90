"""The main table and the paired table: rows with numbers, footnotes in words. One table has one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from semivox.evaluation.comparison import Difference, higher_is_better
from semivox.evaluation.statistics import RESAMPLES
from semivox.evaluation.tables import TITLES
from semivox.matrix import ALL, DISPLAY, LAST, Matrix
from semivox.metrics.conventions import PROTOCOLS
from semivox.report.collect import Collected
from semivox.report.rows import Request, Row, reference_of, rows_of

LEAKY = "leaky"
"""Mark of everything that was chosen on the test cases."""


class MainTable(NamedTuple):
    """All rows of a comparison in the measures of its protocol."""

    dataset: str
    """With the class, when the table is about one."""
    protocol: str
    measures: tuple[str, ...]
    """The first is the headline: intervals, probabilities and differences are shown for it."""
    reference: str
    """Name for people of the method that the others are compared with."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """How to read the table, one sentence each."""
    footnotes: tuple[str, ...]
    """What is special about rows."""
    marks: tuple[tuple[int, ...], ...]
    """For each row the indices of its footnotes."""
    peeking: bool
    """Whether the leaky numbers are shown."""


class PairedRow(NamedTuple):
    """One method against the reference in one measure."""

    label: str
    reference: str
    labeled: int | str
    measure: str
    difference: Difference


def main_table(collected: Collected, *, label: int | None = None, peeking: bool | None = None, seed: int = 0,
               resamples: int = RESAMPLES) -> MainTable:
    """Build the main table of a comparison, in its own protocol.

    Args:
        collected: the comparison.
        label: one class; None is the mean over the classes.
        peeking: show the leaky numbers; None shows them when the comparison asked for them before its runs started.
        seed: of the resampling of cases.
        resamples: how many.

    Raises:
        InputError: P9, runs were scored on different cases.
    """
    matrix = collected.matrix
    measures = PROTOCOLS[matrix.protocol]
    rows = rows_of(collected, Request(measures, label, seed, resamples))
    shown = bool(matrix.peek_every) if peeking is None else peeking
    if not shown:
        rows = [row._replace(peeked=None) for row in rows]
    reference = DISPLAY.get(matrix.reference, matrix.reference)
    names = next((run.scores[LAST].class_names for run in collected.finished), {})
    title = matrix.dataset if label is None else f"{matrix.dataset}, {names.get(label, label)}"
    table = MainTable(title, matrix.protocol, measures, reference, tuple(rows), (), (), (), shown)
    footnotes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for text in footnotes_of(row, rows, matrix):
            footnotes.setdefault(text, []).append(index)
    marks = tuple(tuple(number for number, found in enumerate(footnotes.values()) if index in found)
                  for index in range(len(rows)))
    notes = notes_of(table, resamples)
    if len(names) > 1 and label is None:
        notes.insert(1, f"The score of a case is the mean over its classes: {', '.join(names.values())}.")
    return table._replace(notes=tuple(notes), footnotes=tuple(footnotes), marks=marks)


def paired_rows(table: MainTable) -> list[PairedRow]:
    """Every difference to the reference, in every measure."""
    return [PairedRow(row.label, table.reference, row.labeled, measure, found)
            for row in table.rows for measure in table.measures
            if measure in row.standing and (found := row.standing[measure].difference) is not None]


def notes_of(table: MainTable, resamples: int = RESAMPLES) -> list[str]:
    """How to read the table."""
    headline = TITLES[table.measures[0]]
    several = any(found.n_draws > 1 for row in table.rows for found in row.spread.values())
    falling = [TITLES[measure] for measure in table.measures if not higher_is_better(measure)]
    notes = [
        f"Protocol {table.protocol}, last checkpoint. The number is the mean over seeds of the mean over the test "
        "cases, ± the standard deviation over seeds" + ", pooled over the labeled draws" * several + ".",
        f"95 % interval: bootstrap over cases ({resamples:,} resamples) of the seed-averaged case scores. It says "
        "nothing about other seeds.",
        f"Best: share of the resamples of cases in which the row has the best {headline} of all with as many labels.",
        f"Difference: row minus {table.reference} with as many labels, in {headline}, with its paired bootstrap "
        "interval; p: Wilcoxon signed-rank over cases, Holm-corrected across the rows with as many labels.",
        "Missed: structures that were not found, or found where there is none, of all structures of all runs; each "
        "counts with overlap 0 and the image diagonal as distance.",
    ]
    if falling:
        notes.append(f"Lower is better: {', '.join(falling)}; a negative difference favors the row there.")
    if several:
        notes.append("Draws: standard deviation over labeled draws of the mean over seeds; it is kept apart from the "
                     "spread over seeds, a part of which it contains.")
    if any(row.gap is not None for row in table.rows):
        notes.append(f"Gap: share of the way from the lower bound (0 %) to the upper bound (100 %), in {headline}.")
    if any(row.validation for row in table.rows):
        notes.append("By validation: the weights that are best on the validation cases. Nothing was chosen on the test "
                     "cases for it.")
    if table.peeking:
        notes.append(f"Columns marked {LEAKY}: checkpoint chosen by the Dice of the test cases, as much of the "
                     "literature does. They are no results: they show what such a choice adds to any method.")
    return notes


def footnotes_of(row: Row, rows: Sequence[Row], matrix: Matrix) -> list[str]:
    """What a reader has to know about one row."""
    notes = [note["text"] for note in matrix.footnotes if _concerns(row, note["methods"])]
    if row.lacking:
        notes.append(("No run is in the table: " if not row.runs else "Not in the table: ") + "; ".join(row.lacking)
                     + ".")
    undefined = {measure: found.undefined for measure, found in row.standing.items() if found.undefined}
    if undefined:
        listing = ", ".join(f"{count} of {TITLES[measure]}" for measure, count in undefined.items())
        notes.append(f"Scores that are not defined (structure in neither mask, or spacing unknown) are in no mean: "
                     f"{listing}.")
    alike = [other for other in rows if (other.labeled, other.steps) == (row.labeled, row.steps)]
    reference = reference_of(alike, matrix)
    if row.runs and row.labeled != ALL:
        if reference is None:
            notes.append("There is no finished run of the reference to compare with.")
        elif reference.repetitions != row.repetitions:
            notes.append("Its seeds or draws are not those of the reference: the difference contains theirs.")
    return notes


def _concerns(row: Row, labels: Sequence[str]) -> bool:
    """Whether a footnote of the matrix, which names labels of runs, is about the row."""
    own = {run.spec.label for run in row.runs} or {row.label}
    return not own.isdisjoint(labels)
