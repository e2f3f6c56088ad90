"""What an evaluation found: one row per case and class, and the statistics over them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from semivox.evaluation.pairs import Pair
from semivox.metrics.conventions import MEASURES, OVERLAPS, CaseMetrics, Rules


class CaseRow(NamedTuple):
    """One class of one case."""

    pair: Pair
    label: int
    """Label value, >= 1."""
    class_name: str
    metrics: CaseMetrics
    voxel_ml: float | None
    """Volume of a voxel; None when the spacing is unknown."""

    @property
    def case(self) -> str:
        """Name of the case, without file ending."""
        return self.pair.case

    def value(self, measure: str) -> float | None:
        """A measure as tables have it: overlaps (Dice, Jaccard, NSD) in percent; None where it is not defined."""
        score: float | None = getattr(self.metrics, measure)
        return score if score is None or measure not in OVERLAPS else 100 * score


class Statistic(NamedTuple):
    """Mean and spread of a measure."""

    mean: float | None
    """None when no value is defined."""
    std: float | None
    """Sample standard deviation (n - 1); None for fewer than two values."""
    n: int
    """How many values are behind it."""


class Counts(NamedTuple):
    """How many cases of a class (or rows in all) are of which kind."""

    scored: int
    """With the structure in at least one of the two masks."""
    missed: int
    """In the reference only."""
    spurious: int
    """In the prediction only."""
    empty: int
    """In neither."""


class Evaluation(NamedTuple):
    """Scores of a folder of predictions. Values are as in ``cases.csv``: overlaps in percent."""

    rows: tuple[CaseRow, ...]
    """Sorted by case, then by class."""
    names: dict[int, str]
    """Foreground classes by label value."""
    protocol: str
    """``"clinical"`` or ``"literature"``: which measures are the headline."""
    rules: Rules
    notes: tuple[str, ...] = ()
    """What a reader should know, one sentence each."""

    def mean(self, measure: str, label: int | None = None) -> float | None:
        """Mean of a measure over cases; without ``label`` averaged over the classes' means (nnU-Net's way)."""
        return self.statistic(measure, label).mean

    def statistic(self, measure: str, label: int | None = None) -> Statistic:
        """Mean, spread over cases and number of values; without ``label`` over all classes.

        Args:
            measure: one of ``semivox.metrics.conventions.MEASURES``.
            label: a class, or None for all.
        """
        if measure not in MEASURES:
            raise ValueError(f"measure '{measure}' is none of {', '.join(MEASURES)}")
        if label is not None:
            return statistic(row.value(measure) for row in self.rows if row.label == label)
        means = statistic(self.mean(measure, each) for each in self.names)
        return statistic(self.case_mean(measure).values())._replace(mean=means.mean)

    def case_mean(self, measure: str) -> dict[str, float]:
        """Mean of a measure over the classes of each case that has at least one defined value."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            value = row.value(measure)
            if value is not None:
                values.setdefault(row.case, []).append(value)
        return {case: math.fsum(found) / len(found) for case, found in values.items()}

    def counts(self, label: int | None = None) -> Counts:
        """Numbers of missed, spurious and empty structures of a class, or of all classes."""
        kinds = Counter(row.metrics.kind for row in self.rows if label in (None, row.label))
        return Counts(kinds.total() - kinds["empty"], kinds["missed"], kinds["spurious"], kinds["empty"])

    @property
    def missed(self) -> int:
        """Rows whose structure is missed or spurious."""
        return sum(row.metrics.missed for row in self.rows)

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases, sorted."""
        return tuple(dict.fromkeys(row.case for row in self.rows))


def statistic(values: Iterable[float | None]) -> Statistic:
    """Mean and sample standard deviation of the values that are defined."""
    known: Sequence[float] = [value for value in values if value is not None]
    if not known:
        return Statistic(None, None, 0)
    mean = math.fsum(known) / len(known)
    if len(known) < 2:
        return Statistic(mean, None, len(known))
    return Statistic(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)), len(known))
