"""Intervals over cases, spread over seeds and over labeled draws, rank tests: pure functions on plain numbers.

A score may be undefined (``None`` or NaN: a structure that is in neither mask, a distance without a known spacing). It
is never replaced: it is in no mean, and every result says how many there were. Infinite scores are refused.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from semivox.errors import InputError
from semivox.evaluation.result import Statistic, statistic
from semivox.seeding import numpy_generator

RESAMPLES = 10_000
LEVEL = 0.95
DRAWN_AT_ONCE = 4_000_000
"""Cases that are drawn in one piece: bounds the memory, whatever the number of cases."""

CaseScores = Mapping[str, float | None]
"""Case to score."""
SeedScores = Mapping[Any, CaseScores]
"""Seed (or any other name of a repetition) to the scores of its cases."""
Name = TypeVar("Name", bound=Hashable)


class Interval(NamedTuple):
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int
    """Cases behind it."""


class Averaged(NamedTuple):
    """The score of each case, averaged over seeds."""

    values: dict[str, float]
    """Cases that are defined for at least one seed, sorted by name."""
    undefined: int
    """Scores (case and seed) that are not defined: in no mean."""
    left_out: tuple[str, ...]
    """Cases that are defined for no seed."""


class Spread(NamedTuple):
    """Mean of a method, its spread over seeds, and apart from it that over labeled draws."""

    mean: float | None
    """Over draws of the mean over seeds of the mean over cases; None when nothing is defined."""
    seeds: float | None
    """Standard deviation over seeds, pooled over the draws; None when no draw has two seeds."""
    draws: float | None
    """Standard deviation over draws of the mean over seeds; None for fewer than two draws. A part of it, ``seeds``
    over the square root of the number of seeds, comes from the seeds."""
    n_seeds: int
    """Seeds of a draw; the smallest number when draws differ."""
    n_draws: int


def paired_interval(ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0, level: float = LEVEL,
                    resamples: int = RESAMPLES) -> Interval:
    """Mean difference ``ours - theirs`` over the same cases, with a percentile bootstrap interval.

    Args:
        ours: score of each case (mean over seeds first, where there are several).
        theirs: the same of the reference.
        seed: seed of the resampling of cases with replacement.
        level: coverage of the interval, 0..1.
        resamples: how many draws of cases.

    Raises:
        InputError: when the cases differ or there are fewer than two.
    """
    if ours.keys() != theirs.keys() or len(ours) < 2:
        different = sorted(ours.keys() ^ theirs.keys())[:5]
        raise InputError("P9", "paired comparison", f"{len(ours)} and {len(theirs)} cases, not shared: {different}",
                         "compare scores of the same two or more cases")
    return _interval([ours[case] - theirs[case] for case in sorted(ours)], seed, level, resamples)


def case_interval(values: Mapping[str, float], *, seed: int = 0, level: float = LEVEL,
                  resamples: int = RESAMPLES) -> Interval | None:
    """Mean over cases with its percentile bootstrap interval; None for fewer than two cases.

    Args:
        values: score of each case, seed-averaged.
        seed: seed of the resampling of cases with replacement.
        level: coverage of the interval, 0..1.
        resamples: how many draws of cases.
    """
    if len(values) < 2:
        return None
    return _interval([values[case] for case in sorted(values)], seed, level, resamples)


def resampled_means(values: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Means over cases that are drawn with replacement; all columns see the same draws.

    Args:
        values: (cases,) or (cases, columns).
        seed: seed of the draws.
        resamples: how many.

    Returns:
        (resamples,) or (resamples, columns).
    """
    generator, n = numpy_generator(seed, "bootstrap"), len(values)
    at_once = max(1, DRAWN_AT_ONCE // values.size)
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([values[generator.integers(n, size=(size, n))].mean(axis=1) for size in sizes])


def over_seeds(scores: SeedScores) -> Statistic:
    """Mean ± sample standard deviation over seeds of the mean over the defined cases of each seed."""
    return statistic(statistic(map(defined, cases.values())).mean for cases in scores.values())


def averaged(scores: SeedScores) -> Averaged:
    """The score of each case, averaged over the seeds for which it is defined.

    Raises:
        InputError: P9, the seeds have scores of different cases.
    """
    cases = sorted({case for found in scores.values() for case in found})
    different = sorted({case for case in cases for found in scores.values() if case not in found})
    if different:
        raise InputError("P9", "seeds of a method", f"not all of them have scores of {', '.join(different[:5])}",
                         "evaluate all runs on the same cases")
    known = {case: [value for found in scores.values() if (value := defined(found[case])) is not None]
             for case in cases}
    values = {case: math.fsum(found) / len(found) for case, found in known.items() if found}
    undefined = len(cases) * len(scores) - sum(map(len, known.values()))
    return Averaged(values, undefined, tuple(case for case in cases if not known[case]))


def spread(scores: Mapping[Any, SeedScores]) -> Spread:
    """Spread over seeds and over labeled draws, kept apart.

    Args:
        scores: draw (None is the stored order) to seed to case to score.
    """
    found = [over_seeds(seeds) for seeds in scores.values()]
    total = statistic(each.mean for each in found)
    # pooled with the degrees of freedom: with equal numbers of seeds, the root of the mean variance
    freedom = sum(each.n - 1 for each in found if each.std is not None)
    squares = math.fsum((each.n - 1) * each.std**2 for each in found if each.std is not None)
    return Spread(total.mean, math.sqrt(squares / freedom) if freedom else None, total.std,
                  min((each.n for each in found), default=0), len(found))


def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """Two-sided p value of Wilcoxon's signed-rank test (SciPy's defaults); 1 when no difference is other than 0.

    Args:
        differences: one a case; None is returned when there is none.
    """
    if not differences:
        return None
    if not any(differences):
        return 1.0
    from scipy.stats import wilcoxon  # half a second of imports that most commands do not need

    return float(wilcoxon(differences).pvalue)


def holm(p_values: Mapping[Name, float | None]) -> dict[Name, float | None]:
    """Holm's correction of a family of p values; those that are None are no tests and stay None."""
    ranked = sorted(((p, name) for name, p in p_values.items() if p is not None), key=lambda pair: pair[0])
    corrected: dict[Name, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for index, (p, name) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - index) * p))
        corrected[name] = highest
    return corrected


def defined(score: float | None) -> float | None:
    """The score, or None for NaN.

    Raises:
        ValueError: it is infinite.
    """
    if score is None or math.isnan(score):
        return None
    if math.isinf(score):
        raise ValueError("finite scores expected, got an infinite one")
    return score


def _interval(values: Iterable[float], seed: int, level: float, resamples: int) -> Interval:
    array = np.array(list(values), dtype=np.float64)
    means = resampled_means(array, seed=seed, resamples=resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(array.mean()), float(low), float(high), len(array))
