"""What ``semivox evaluate`` has written about one set of predictions, read back."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

from semivox.errors import InputError
from semivox.evaluation.evaluate import CASES, SUMMARY
from semivox.evaluation.result import Statistic, statistic
from semivox.evaluation.tables import COLUMNS, FORMULA_STARTS
from semivox.fsio import read_json
from semivox.metrics.conventions import MEASURES


class CaseScore(NamedTuple):
    """One class of one case: a row of cases.csv. Overlaps are in percent; None where a measure is not defined."""

    case: str
    label: int
    class_name: str
    values: dict[str, float | None]
    """By the names of ``semivox.metrics.conventions.MEASURES``."""
    missed: bool
    """In one of the two masks only."""
    kind: str
    """``ok``, ``missed``, ``spurious`` or ``empty``."""
    prediction_ml: float | None
    """None when the spacing is unknown."""
    reference_ml: float | None


class Scores(NamedTuple):
    """Scores of one set of predictions."""

    protocol: str
    legacy: bool
    """Whether absent structures count 0 in every measure."""
    tolerance_mm: float
    """Of NSD."""
    rows: tuple[CaseScore, ...]
    """Sorted by case, then by class."""

    def by_case(self, measure: str, label: int | None = None) -> dict[str, float | None]:
        """Score of each case: of one class, or the mean over those classes for which it is defined."""
        found: dict[str, list[float | None]] = {}
        for row in self.rows:
            if label in (None, row.label):
                found.setdefault(row.case, []).append(row.values[measure])
        return {case: statistic(values).mean for case, values in found.items()}

    def over_cases(self, measure: str, label: int | None = None) -> Statistic:
        """Mean and spread over cases."""
        return statistic(self.by_case(measure, label).values())

    def missed(self, label: int | None = None) -> int:
        """Structures that are in one of the two masks only."""
        return sum(row.missed for row in self.rows if label in (None, row.label))

    def structures(self, label: int | None = None) -> int:
        """Structures that are in at least one of the two masks: what ``missed`` is out of."""
        return sum(row.kind != "empty" for row in self.rows if label in (None, row.label))

    @property
    def class_names(self) -> dict[int, str]:
        """Foreground classes by label value."""
        return {row.label: row.class_name for row in sorted(self.rows, key=lambda row: row.label)}


def read_scores(folder: Path) -> Scores:
    """Read ``cases.csv`` and ``summary.json``.

    Args:
        folder: what ``semivox evaluate --out`` wrote.

    Raises:
        InputError: P13, a file is missing or not what ``semivox evaluate`` writes.
    """
    path = folder / CASES
    if not path.is_file():
        raise InputError("P13", path, "file not found", "score the predictions again")
    summary = read_json(folder / SUMMARY)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = tuple(map(_row, csv.DictReader(stream)))
        return Scores(summary["protocol"], bool(summary["legacy"]), float(summary["tolerance_mm"]), rows)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError("P13", path, f"not what `semivox evaluate` writes ({type(error).__name__} {error})",
                         "score the predictions again") from None


def _row(cells: dict[str, Any]) -> CaseScore:
    missing = [name for name in COLUMNS if cells.get(name) is None]
    if missing:
        raise ValueError(f"no {missing[0]}")
    return CaseScore(
        _name(cells["case"]), int(cells["class"]), _name(cells["class_name"]),
        {measure: _number(cells[measure]) for measure in MEASURES}, cells["missed"] == "1", cells["kind"],
        _number(cells["prediction_ml"]), _number(cells["reference_ml"]))


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"found {text}, a finite number or nothing is needed")
    return value


def _name(text: str) -> str:
    """A name without the mark that keeps spreadsheets from taking it for a formula."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA_STARTS) else text
