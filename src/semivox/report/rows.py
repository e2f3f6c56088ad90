"""Runs that differ in seed and labeled draw alone are one row of a table, with its statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from semivox.evaluation.comparison import Standing, compare_methods, higher_is_better
from semivox.evaluation.statistics import RESAMPLES, CaseScores, Spread, spread
from semivox.matrix import ALL, BEST_VALIDATION, BOUND, LAST, Matrix, Role, RunSpec
from semivox.report.collect import Collected, RunRecord
from semivox.report.peeking import peek
from semivox.report.scores import Scores

ORDER: tuple[Role, ...] = ("lower_bound", "method", "upper_bound")
Repetition = tuple[int | None, int]
"""(draw, seed)."""


class Peeked(NamedTuple):
    """A row as it would look with checkpoints that were chosen on the test cases. Leaky."""

    spread: dict[str, Spread]
    """By measure."""
    gain: float
    """Mean gain over the last step, in percent Dice."""
    steps: tuple[int, ...]
    """The steps chosen, one for each run."""


class Row(NamedTuple):
    """A method, with its variant, at a number of labeled cases."""

    label: str
    method: str
    variant: str
    """Without the draw."""
    labeled: int | str
    """Number of labeled cases, or ``all``."""
    steps: int
    role: Role
    runs: tuple[RunRecord, ...]
    """The finished ones."""
    lacking: tuple[str, ...]
    """``seed 1: failed: ...`` for each of the others."""
    spread: dict[str, Spread]
    """Mean, and spread over seeds and over draws, by measure; empty when no run is finished. The same for the next."""
    standing: dict[str, Standing]
    missed: int
    """Structures that were not found, or found where there is none, over all runs."""
    structures: int
    """What ``missed`` is out of."""
    validation: dict[str, Spread]
    """Of the weights that are best on the validation cases; empty where a run has none."""
    peeked: Peeked | None
    gap: float | None
    """Share of the way from the lower to the upper bound, in the first measure: 0 is the lower, 1 the upper one."""

    @property
    def repetitions(self) -> frozenset[Repetition]:
        """(draw, seed) of its finished runs."""
        return frozenset((run.spec.draw, run.spec.seed) for run in self.runs)


class Request(NamedTuple):
    """What the statistics are made of."""

    measures: tuple[str, ...]
    label: int | None = None
    """One class; None is the mean over the classes."""
    seed: int = 0
    """Of the resampling."""
    resamples: int = RESAMPLES


def rows_of(collected: Collected, request: Request) -> list[Row]:
    """All rows: by labeled cases, the lower bound first and the upper bound last, in the order of the matrix.

    Both bounds of a comparison are always there; one that was not planned or is not finished has no numbers.
    """
    groups: dict[tuple[int | str, int], list[Row]] = {}
    rows = _bare_rows(collected, request)
    for row in _with_bounds(rows) if len(collected.runs) > 1 else rows:
        groups.setdefault((row.labeled, row.steps), []).append(row)
    compared = [row for _, rows in sorted(groups.items(), key=lambda item: (_rank(item[0][0]), item[0][1]))
                for row in _compared(sorted(rows, key=lambda row: ORDER.index(row.role)), collected.matrix, request)]
    return [row._replace(gap=_gap(row, compared, request.measures[0])) for row in compared]


def reference_of(rows: Sequence[Row], matrix: Matrix) -> Row | None:
    """The row that the others with as many labels are compared with: the reference method as it is by default."""
    known = [row for row in rows if row.method == matrix.reference and row.runs]
    return next((row for row in known if all(not run.spec.changes and run.spec.profile == "default"
                                             and not run.spec.dropped for run in row.runs)), None)


def by_repetition(runs: Iterable[RunRecord], kind: str, request: Request,
                  measure: str) -> dict[Repetition, CaseScores]:
    """(draw, seed) to case to score, as the statistics take them."""
    return {(run.spec.draw, run.spec.seed): run.scores[kind].by_case(measure, request.label) for run in runs}


def _bare_rows(collected: Collected, request: Request) -> list[Row]:
    """Rows with what they need no other row for."""
    lengths = {spec.steps for spec in collected.matrix.runs}
    groups: dict[tuple[str, int | str, int], list[RunRecord]] = {}
    for run in collected.runs:
        groups.setdefault((*run.spec.row, run.spec.steps), []).append(run)
    rows = []
    for (label, labeled, steps), runs in groups.items():
        name = f"{label}, {steps} steps" if len(lengths) > 1 else label
        done = tuple(run for run in runs if run.finished)
        last = [run.scores[LAST] for run in done]
        row = _empty(name, runs[0].spec)._replace(
            labeled=labeled, runs=done,
            lacking=tuple(f"{_repetition(run.spec)}: {run.reason}" for run in runs if not run.finished),
            spread=_spreads(done, last, request), missed=sum(scores.missed(request.label) for scores in last),
            structures=sum(scores.structures(request.label) for scores in last), peeked=_peeked(done, request))
        if all(BEST_VALIDATION in run.scores for run in done):
            row = row._replace(validation=_spreads(done, [run.scores[BEST_VALIDATION] for run in done], request))
        rows.append(row)
    return rows


def _empty(label: str, spec: RunSpec) -> Row:
    variant = spec.variant.removesuffix(f"-draw_{spec.draw}")
    return Row(label, spec.method, variant, spec.labeled, spec.steps, spec.role, (), (), {}, {}, 0, 0, {}, None, None)


def _with_bounds(rows: list[Row]) -> list[Row]:
    """The rows, and an empty one for each bound that was not planned."""
    added = list(rows)
    for labeled, steps in dict.fromkeys((row.labeled, row.steps) for row in rows if row.role == "method"):
        wanted: tuple[tuple[Role, int | str], ...] = (("lower_bound", labeled), ("upper_bound", ALL))
        for role, count in wanted:
            if not any((row.role, row.labeled, row.steps) == (role, count, steps) for row in added):
                label = BOUND + " (all labels)" * (role == "upper_bound")
                added.append(Row(label, BOUND, "", count, steps, role, (), ("not planned",), {}, {}, 0, 0, {}, None,
                                 None))
    return added


def _compared(rows: Sequence[Row], matrix: Matrix, request: Request) -> list[Row]:
    """Rows of one number of labels, each with its standing among them."""
    reference = reference_of(rows, matrix)
    position = None if reference is None else next(index for index, row in enumerate(rows) if row is reference)
    standings: dict[str, dict[int, Standing]] = {}
    for measure in request.measures:
        scores = {index: by_repetition(row.runs, LAST, request, measure) for index, row in enumerate(rows) if row.runs}
        standings[measure] = compare_methods(scores, position, higher=higher_is_better(measure), seed=request.seed,
                                             resamples=request.resamples)
    return [row._replace(standing={measure: found[index] for measure, found in standings.items() if index in found})
            for index, row in enumerate(rows)]


def _spreads(runs: Sequence[RunRecord], scores: Sequence[Scores], request: Request) -> dict[str, Spread]:
    """Spread of every measure over the runs; ``scores`` has one for each of them."""
    found: dict[str, Spread] = {}
    for measure in request.measures if runs else ():
        draws: dict[int | None, dict[int, CaseScores]] = {}
        for run, own in zip(runs, scores, strict=True):
            draws.setdefault(run.spec.draw, {})[run.spec.seed] = own.by_case(measure, request.label)
        found[measure] = spread(draws)
    return found


def _peeked(runs: Sequence[RunRecord], request: Request) -> Peeked | None:
    """What the row would be with leaky checkpoints; None unless all its runs have kept weights."""
    found = [chosen for run in runs if (chosen := peek(run)) is not None]
    if not found or len(found) < len(runs):
        return None
    gain = sum(chosen.gain for chosen in found) / len(found)
    return Peeked(_spreads(runs, [chosen.scores for chosen in found], request), gain,
                  tuple(chosen.step for chosen in found))


def _gap(row: Row, rows: Sequence[Row], measure: str) -> float | None:
    """Where the row lies between the bounds of its length."""
    alike = [other for other in rows if other.steps == row.steps and measure in other.spread]
    lower = next((other.spread[measure].mean for other in alike
                  if other.role == "lower_bound" and other.labeled == row.labeled), None)
    upper = next((other.spread[measure].mean for other in alike if other.role == "upper_bound"), None)
    own = row.spread[measure].mean if measure in row.spread else None
    if row.role != "method" or own is None or lower is None or upper is None or lower == upper:
        return None
    return (own - lower) / (upper - lower)


def _repetition(spec: RunSpec) -> str:
    return f"seed {spec.seed}" if spec.draw is None else f"draw {spec.draw}, seed {spec.seed}"


def _rank(labeled: int | str) -> float:
    return float("inf") if labeled == ALL else float(labeled)
