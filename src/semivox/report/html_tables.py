"""Tables of texts as HTML shows them: cells with something to sort by, the best of a column marked."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from semivox.evaluation.comparison import higher_is_better
from semivox.evaluation.tables import TITLES
from semivox.matrix import ALL
from semivox.report.published import dataset_of, load_published, published_grid, select
from semivox.report.source import Source
from semivox.report.writers import DASH, Grid, grid_of

NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?")
TEXTS = frozenset({"method", "checkpoint", "spread", "paper", "source"})
LAST = "1e9"
"""Sorts ``all`` after every number of labels."""


class HtmlCell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    main: str
    small: str
    """What follows the number: spread or interval."""
    value: str
    """A number, a text, or nothing, which stays last."""
    best: bool = False


def main_view(source: Source) -> dict[str, Any]:
    """The main table."""
    grid = grid_of(source.table)
    view = grid_view(grid)
    for column, measure in _measure_columns(grid, source.table.measures).items():
        _mark_best(view["rows"], column, higher=higher_is_better(measure))
    for row, found in zip(view["rows"], source.table.rows, strict=True):
        row |= {"style": source.styles[found.label], "bound": found.role != "method"}
    return view


def published_view(source: Source) -> dict[str, Any] | None:
    """Published rows on the dataset of the comparison; None when it is none that was published on."""
    run = source.any_run
    dataset = None if run is None else dataset_of(run.plan)
    rows = [] if dataset is None else select(
        load_published(), dataset=dataset, labeled=[spec.labeled for spec in source.matrix.runs if spec.labeled != ALL])
    if dataset is None or not rows:
        return None
    view = grid_view(published_grid(rows, dataset))
    for row in view["rows"]:
        row |= {"style": None, "bound": False}
    return view


def grid_view(grid: Grid) -> dict[str, Any]:
    """Columns, rows, notes and footnotes of any table of texts."""
    columns = [{"name": name, "text": name in TEXTS, "first": "ascending" if name in TEXTS else "descending"}
               for name in grid.columns]
    rows = [{"cells": [cell_of(text, name in TEXTS) for text, name in zip(cells, grid.columns, strict=True)],
             "mark": marks} for cells, marks in zip(grid.rows, grid.marks, strict=True)]
    return {"caption": grid.caption, "columns": columns, "rows": rows, "notes": grid.notes,
            "footnotes": grid.footnotes}


def cell_of(text: str, is_text: bool) -> HtmlCell:
    """Take a cell's text apart: ``"81.2 ± 3.1"`` and ``"+2.1 (0.8 to 3.4)"`` have a small part."""
    if is_text:
        return HtmlCell(text, "", text)
    if text == DASH:
        return HtmlCell(text, "", "")
    cut = next((text.index(mark) for mark in (" ± ", " (") if mark in text), len(text))
    found = NUMBER.search(text)
    value = LAST if text == ALL else text if found is None else found.group().replace("−", "-").replace(",", "")
    return HtmlCell(text[:cut], text[cut:].strip(), value)


def _measure_columns(grid: Grid, measures: tuple[str, ...]) -> dict[int, str]:
    titles = {TITLES[measure]: measure for measure in measures}
    return {index: titles[name] for index, name in enumerate(grid.columns) if name in titles}


def _mark_best(rows: list[dict[str, Any]], column: int, *, higher: bool) -> None:
    """Mark the best number among the rows with as many labels, where there are several."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["cells"][column].value:
            groups.setdefault(row["cells"][1].value, []).append(row)
    for group in groups.values():
        if len(group) > 1:
            numbers = [float(row["cells"][column].value) for row in group]
            best = max(numbers) if higher else min(numbers)
            for row, number in zip(group, numbers, strict=True):
                row["cells"][column] = row["cells"][column]._replace(best=number == best)
