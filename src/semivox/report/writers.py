"""Tables as text: cells for people, and CSV, Markdown and LaTeX (booktabs) files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from semivox.evaluation.statistics import Interval, Spread
from semivox.evaluation.tables import TITLES, guarded
from semivox.fsio import write_text
from semivox.report.rows import Row
from semivox.report.tables import LEAKY, MainTable, PairedRow
from semivox.wording import printable

DASH = "–"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
         "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": r"$-$",
         "<": r"$<$", ">": r"$>$"}
Cell = str | int | float | bool | None


class Grid(NamedTuple):
    """A table of texts."""

    caption: str
    columns: tuple[str, ...]
    """The first two are texts (left), the others numbers (right)."""
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[str, ...]
    """Letters of each row's footnotes."""
    notes: tuple[str, ...]
    footnotes: tuple[tuple[str, str], ...]
    """(letter, text)."""


def grid_of(table: MainTable) -> Grid:
    """The main table as people read it; columns that no row has anything for are left out."""
    lines = [_cells(row, table) for row in table.rows]
    columns = [name for name in (lines[0] if lines else {})
               if name in ("method", "labels", "seeds") or any(line[name] != DASH for line in lines)]
    letters = [mark_of(number) for number in range(len(table.footnotes))]
    return Grid(
        f"{table.dataset}: protocol {table.protocol}, compared with {table.reference}", tuple(columns),
        tuple(tuple(line[name] for name in columns) for line in lines),
        tuple(",".join(letters[number] for number in marks) for marks in table.marks), table.notes,
        tuple(zip(letters, table.footnotes, strict=True)))


def main_records(table: MainTable) -> list[dict[str, Cell]]:
    """The main table with every number of every measure in full precision, one flat record a row."""
    records = []
    for row, marks in zip(table.rows, table.marks, strict=True):
        record: dict[str, Cell] = {
            "method": row.label, "variant": row.variant, "labeled": row.labeled, "steps": row.steps, "role": row.role,
            "protocol": table.protocol, "seeds": len({seed for _, seed in row.repetitions}),
            "draws": len({draw for draw, _ in row.repetitions}), "runs": len(row.runs), "lacking": len(row.lacking),
            "missed": row.missed if row.runs else None, "structures": row.structures if row.runs else None,
            "gap_closed": row.gap}
        for measure in table.measures:
            record |= _numbers(row, measure, peeking=table.peeking)
        records.append({**record, "footnotes": " ".join(mark_of(number) for number in marks)})
    return records


def paired_records(rows: Iterable[PairedRow]) -> list[dict[str, Cell]]:
    """The paired table, one flat record a difference."""
    return [{"method": row.label, "reference": row.reference, "labeled": row.labeled, "measure": row.measure,
             "difference": row.difference.interval.mean, "low": row.difference.interval.low,
             "high": row.difference.interval.high, "better": row.difference.better, "wilcoxon_p": row.difference.p,
             "holm_p": row.difference.p_holm, "cases": row.difference.interval.n, "left_out": row.difference.left_out}
            for row in rows]


def csv_text(records: Sequence[Mapping[str, Cell]]) -> str:
    """CSV with a header: full precision, blank where there is nothing, no cell that spreadsheets take for a formula."""
    if not records:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: guarded(printable(value)) if isinstance(value, str) else "" if value is None else value
                         for key, value in record.items()})
    return stream.getvalue()


def markdown_text(grid: Grid) -> str:
    """A Markdown table, its notes and footnotes below it."""
    lines = ["| " + " | ".join(map(_markdown, grid.columns)) + " |",
             "|" + "|".join("---" if number < 2 else "---:" for number in range(len(grid.columns))) + "|"]
    for cells, marks in zip(grid.rows, grid.marks, strict=True):
        first = _markdown(cells[0]) + f"<sup>{marks}</sup>" * bool(marks)
        lines.append("| " + " | ".join((first, *map(_markdown, cells[1:]))) + " |")
    lines += ["", *(f"- {_markdown(note)}" for note in grid.notes)]
    lines += [f"- <sup>{letter}</sup> {_markdown(text)}" for letter, text in grid.footnotes]
    return "\n".join([f"**{_markdown(grid.caption)}**", "", *lines, ""])


def latex_text(grid: Grid) -> str:
    """A LaTeX table; the preamble has to load booktabs."""
    columns = "ll" + "r" * (len(grid.columns) - 2)
    body = [r" & ".join(map(_latex, grid.columns)) + r" \\", r"\midrule"]
    for cells, marks in zip(grid.rows, grid.marks, strict=True):
        first = _latex(cells[0]) + rf"\textsuperscript{{{marks}}}" * bool(marks)
        body.append(" & ".join((first, *map(_latex, cells[1:]))) + r" \\")
    notes = [*map(_latex, grid.notes),
             *(rf"\textsuperscript{{{letter}}}~{_latex(text)}" for letter, text in grid.footnotes)]
    return "\n".join([
        "% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{_latex(grid.caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}", "",
        r"\footnotesize", " \\\\\n".join(notes), r"\end{table}", ""])


def write_tables(folder: Path, table: MainTable, paired: Sequence[PairedRow]) -> None:
    """Write ``main.csv``, ``main.md``, ``main.tex`` and ``paired.csv``."""
    grid = grid_of(table)
    write_text(folder / "main.csv", csv_text(main_records(table)))
    write_text(folder / "main.md", markdown_text(grid))
    write_text(folder / "main.tex", latex_text(grid))
    write_text(folder / "paired.csv", csv_text(paired_records(paired)))


def mark_of(number: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab``."""
    more, last = divmod(number, len(LETTERS))
    return (mark_of(more - 1) if more else "") + LETTERS[last]


def shown_spread(found: Spread | None) -> str:
    """``"81.25 ± 3.10"``; a dash where nothing is defined."""
    if found is None or found.mean is None:
        return DASH
    return f"{found.mean:.2f}" + (f" ± {found.seeds:.2f}" if found.seeds is not None else "")


def shown_interval(found: Interval | None) -> str:
    """``"79.10 to 83.02"``."""
    return DASH if found is None else f"{_signed(found.low, '')} to {_signed(found.high, '')}"


def shown_p(p: float | None) -> str:
    """Two significant digits; ``< 0.0001`` below that."""
    if p is None:
        return DASH
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _cells(row: Row, table: MainTable) -> dict[str, str]:
    """Column to text for one row; every row has the same columns."""
    first = table.measures[0]
    standing, head = row.standing.get(first), row.spread.get(first)
    difference = standing.difference if standing else None
    draws = head.n_draws if head else 0
    cells = {"method": row.label, "labels": str(row.labeled), TITLES[first]: shown_spread(head),
             "95 % interval": shown_interval(standing.interval if standing else None)}
    cells |= {TITLES[measure]: shown_spread(row.spread.get(measure)) for measure in table.measures[1:]}
    cells["missed"] = f"{row.missed} of {row.structures}" if row.runs else DASH
    cells["seeds"] = str(len({seed for _, seed in row.repetitions}))
    cells["draws"] = f"{draws}: ± {head.draws:.2f}" if head and head.draws is not None else DASH
    cells["best"] = f"{100 * standing.best:.0f} %" if standing and standing.best is not None else DASH
    cells["difference"] = DASH
    if difference:
        cells["difference"] = f"{_signed(difference.interval.mean)} ({shown_interval(difference.interval)})"
    cells["p (Holm)"] = shown_p(difference.p_holm if difference else None)
    cells["gap"] = DASH if row.gap is None else f"{_signed(100 * row.gap, '', digits=0)} %"
    cells[f"{TITLES[first]} by validation"] = shown_spread(row.validation.get(first))
    if table.peeking:
        peeked = row.peeked
        cells[f"{TITLES[first]} best on test ({LEAKY})"] = shown_spread(peeked.spread.get(first) if peeked else None)
        cells[f"gain over last ({LEAKY})"] = _signed(peeked.gain) if peeked else DASH
    return cells


def _numbers(row: Row, measure: str, *, peeking: bool) -> dict[str, Cell]:
    """All numbers of one measure, each named ``<measure>_<what>``."""
    standing, found, by_validation = row.standing.get(measure), row.spread.get(measure), row.validation.get(measure)
    interval = standing.interval if standing else None
    difference = standing.difference if standing else None
    values: dict[str, Cell] = {
        "mean": found.mean if found else None, "std_seeds": found.seeds if found else None,
        "std_draws": found.draws if found else None, "low": interval.low if interval else None,
        "high": interval.high if interval else None, "cases": interval.n if interval else None,
        "undefined": standing.undefined if standing else None, "best": standing.best if standing else None,
        "difference": difference.interval.mean if difference else None,
        "difference_low": difference.interval.low if difference else None,
        "difference_high": difference.interval.high if difference else None,
        "wilcoxon_p": difference.p if difference else None, "holm_p": difference.p_holm if difference else None,
        "by_validation": by_validation.mean if by_validation else None}
    if peeking:
        leak = row.peeked.spread.get(measure) if row.peeked else None
        values[f"best_on_test_{LEAKY}"] = leak.mean if leak else None
        known = leak and found and leak.mean is not None and found.mean is not None
        values[f"gain_{LEAKY}"] = leak.mean - found.mean if known else None  # type: ignore[union-attr, operator]
    return {f"{measure}_{name}": value for name, value in values.items()}


def _signed(value: float, plus: str = "+", *, digits: int = 2) -> str:
    """A number with a minus sign that is as wide as a plus."""
    text = f"{abs(value):.{digits}f}"
    return text if not float(text) else ("−" if value < 0 else plus) + text


def _markdown(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _latex(text: str) -> str:
    return "".join(LATEX.get(char, char) for char in printable(text))
