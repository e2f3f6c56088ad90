"""Published numbers, to be read beside ours: from a data file with source, protocol and checkpoint rule of each row.

They stand in a block of their own and never in a column with ours: other code, other checkpoints, often other folds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le, Len

from semivox.errors import InputError, SemivoxError
from semivox.evaluation.tables import TITLES
from semivox.fsio import read_json
from semivox.metrics.conventions import MEASURES, OVERLAPS
from semivox.report.writers import DASH, Cell, Grid
from semivox.settings import NonNegativeFloat, PositiveInt, Settings
from semivox.strict import load_strictly

FORMAT = 1
Text = Annotated[str, Len(1)]
Checkpoint = Literal["last", "best_on_test", "best_on_validation", "not_stated"]
CHECKPOINTS: dict[str, str] = {"last": "last", "best_on_test": "best on test (leaky)",
                               "best_on_validation": "best on validation", "not_stated": "not stated"}
SPREADS = {"seeds": "± over seeds", "cases": "± over resampled test cases", None: "none listed"}
DATASETS = {"la": "LA", "la_half": "LA"}
"""Recipe of a store to the name of its dataset in the published tables."""


@dataclass(frozen=True, kw_only=True)
class _Row(Settings):
    """A row as the file has it; what it leaves out is its table's."""

    labeled: PositiveInt
    method: Text
    values: tuple[NonNegativeFloat | None, ...]
    std: tuple[NonNegativeFloat | None, ...] | None = None
    source: Text | None = None
    checkpoint: Checkpoint | None = None
    note: Text | None = None


@dataclass(frozen=True, kw_only=True)
class _Table(Settings):
    """A table as the file has it."""

    paper: Text
    table: Text
    dataset: Text
    training: PositiveInt
    protocol: Text
    checkpoint: Checkpoint
    spread: Literal["seeds", "cases"] | None
    source: Text
    measures: tuple[str, ...]
    rows: Annotated[tuple[_Row, ...], Len(1)]

    def __post_init__(self) -> None:
        """Refuse rows that do not fit the table."""
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown or not self.measures:
            raise ValueError(f"measures {list(self.measures)}, one or more of {', '.join(MEASURES)} are needed")
        for row in self.rows:
            self._check(row)

    def _check(self, row: _Row) -> None:
        name = f"{row.method} with {row.labeled} labels"
        for numbers in (row.values, row.std):
            if numbers is not None and len(numbers) != len(self.measures):
                raise ValueError(f"{name}: {len(numbers)} numbers for {len(self.measures)} measures")
        for measure, value in zip(self.measures, row.values, strict=True):
            if value is not None and measure in OVERLAPS and not 1 < value <= 100:
                raise ValueError(f"{name}: {measure} is {value}, percent between 1 and 100 are needed")
        if all(value is None for value in row.values):
            raise ValueError(f"{name}: no number at all")
        if row.std and (self.spread is None or any(std is not None and value is None
                                                   for value, std in zip(row.values, row.std, strict=True))):
            raise ValueError(f"{name}: a spread without a mean, or of nothing that the table names")
        if row.labeled > self.training:
            raise ValueError(f"{name}: there are {self.training} training cases")


@dataclass(frozen=True, kw_only=True)
class _Published(Settings):
    """The whole file."""

    format: Annotated[int, Ge(FORMAT), Le(FORMAT)]
    tables: Annotated[tuple[_Table, ...], Len(1)]


class PublishedRow(NamedTuple):
    """One row of one published table."""

    paper: str
    table: str
    """Its number, or what it shows where the number is not known."""
    dataset: str
    training: int
    """Training cases: a row with as many labels is an upper bound."""
    labeled: int
    method: str
    values: dict[str, float]
    """By the names of ``MEASURES``, overlaps in percent; measures that the paper does not give are not in it."""
    std: dict[str, float]
    spread: Literal["seeds", "cases"] | None
    """What ``std`` is over."""
    source: str
    """Who measured it."""
    protocol: str
    checkpoint: Checkpoint
    note: str | None


def load_published(path: Path | None = None) -> list[PublishedRow]:
    """Read published rows, strictly.

    Args:
        path: a file in the form of the one that comes with the package, which is read without it.

    Raises:
        InputError: J4, it does not fit, with the key or the row; P13, a row is there twice.
    """
    source = path or Path(str(files("semivox.report").joinpath("published.json")))
    try:
        content = load_strictly(_Published, read_json(source), source=source.name)
    except InputError:
        raise
    except SemivoxError as error:
        raise InputError("J4", error.subject, error.problem, error.fix) from None
    rows = [_row(table, row) for table in content.tables for row in table.rows]
    seen = set()
    for row in rows:
        key = (row.paper, row.table, row.dataset, row.labeled, row.method, row.checkpoint)
        if key in seen:
            raise InputError("P13", source.name, f"{row.method} with {row.labeled} labels is twice in {row.table} of "
                             f"{row.paper}", "remove one of them")
        seen.add(key)
    return rows


def select(rows: Iterable[PublishedRow], *, dataset: str, labeled: Collection[int | str] = ()) -> list[PublishedRow]:
    """Rows of a dataset, by labels; the order of the papers is kept otherwise.

    Args:
        rows: published rows.
        dataset: its name in the published tables.
        labeled: numbers of labeled cases that are wanted; empty wants all. Upper bounds always come along.
    """
    wanted = [row for row in rows if row.dataset == dataset
              and (not labeled or row.labeled in labeled or row.labeled == row.training)]
    return sorted(wanted, key=lambda row: row.labeled)


def dataset_of(plan: dict[str, Any]) -> str | None:
    """Name of a store's dataset in the published tables, by the recipe in its plan.json; None for one's own data."""
    return DATASETS.get(str(plan.get("recipe")))


def published_grid(rows: Sequence[PublishedRow], dataset: str) -> Grid:
    """The published block as people read it, with source, protocol and checkpoint rule."""
    measures = [name for name in MEASURES if any(name in row.values for row in rows)]
    columns = ("method", "labels", *(TITLES[name] for name in measures), "checkpoint", "spread", "paper", "source")
    lines = tuple((row.method, f"{row.labeled} of {row.training}",
                   *(_shown(row.values.get(name), row.std.get(name)) for name in measures),
                   CHECKPOINTS[row.checkpoint], SPREADS[row.spread if row.std else None],
                   f"{row.paper}, {row.table}", row.source) for row in rows)
    notes = ["Published numbers, not ours: other code, other checkpoint rules, other spreads. They are for "
             "orientation; none of them may be compared with ours to the decimal.",
             *(f"Protocol: {text}." for text in dict.fromkeys(row.protocol for row in rows))]
    texts = list(dict.fromkeys(row.note for row in rows if row.note))
    letters = [chr(ord("a") + number) for number in range(len(texts))]
    marks = tuple(letters[texts.index(row.note)] if row.note else "" for row in rows)
    footnotes = tuple((letter, f"{text[0].upper()}{text[1:]}.") for letter, text in zip(letters, texts, strict=True))
    return Grid(f"Published on {dataset}", columns, lines, marks, tuple(notes), footnotes)


def published_records(rows: Iterable[PublishedRow]) -> list[dict[str, Cell]]:
    """Published rows with every number, one flat record a row."""
    return [{**{key: value for key, value in row._asdict().items() if key not in ("values", "std")},
             **{name: row.values.get(name) for name in MEASURES},
             **{f"{name}_std": row.std.get(name) for name in MEASURES}} for row in rows]


def _row(table: _Table, row: _Row) -> PublishedRow:
    values = {name: value for name, value in zip(table.measures, row.values, strict=True) if value is not None}
    std = {name: value for name, value in zip(table.measures, row.std or (), strict=False) if value is not None}
    return PublishedRow(table.paper, table.table, table.dataset, table.training, row.labeled, row.method, values, std,
                        table.spread, row.source or table.source, table.protocol, row.checkpoint or table.checkpoint,
                        row.note)


def _shown(value: float | None, std: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.2f}" if std is None else f"{value:.2f} ± {std:.2f}"
