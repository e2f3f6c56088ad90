"""Several methods on the same cases: how each stands, how sure that is, and how it differs from a reference.

Everything here is about cases: intervals and tests say what other cases of the same kind might show. What other seeds
might show is in the spread over seeds alone, and two or three seeds say little about it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from semivox.errors import UsageError, did_you_mean
from semivox.evaluation.statistics import (
    RESAMPLES,
    Averaged,
    Interval,
    SeedScores,
    averaged,
    case_interval,
    holm,
    over_seeds,
    paired_interval,
    resampled_means,
    wilcoxon_p,
)
from semivox.metrics.conventions import DISTANCES_MM, DISTANCES_VOXEL

Name = TypeVar("Name", bound=Hashable)


class Difference(NamedTuple):
    """A method against the reference, case by case."""

    interval: Interval
    """Of ``method - reference`` in the unit of the measure, whatever its direction."""
    better: bool | None
    """Whether the mean difference favors the method; None when it is 0."""
    p: float | None
    """Wilcoxon's signed-rank test, two-sided."""
    p_holm: float | None
    """The same, Holm-corrected across the methods that are compared with the reference."""
    left_out: int
    """Cases that are not defined for both, in neither number."""


class Standing(NamedTuple):
    """One method in one measure."""

    mean: float | None
    """Over seeds of the mean over cases; None when nothing is defined."""
    std: float | None
    """Over seeds; None for one seed."""
    seeds: int
    interval: Interval | None
    """Over cases, of the seed-averaged case scores; None for fewer than two defined cases."""
    best: float | None
    """Share of the resamples of cases in which the method is best; None when it stands alone."""
    difference: Difference | None
    """None for the reference itself, and where fewer than two cases are defined for both."""
    undefined: int
    """Scores (case and seed) that are not defined: in no mean."""


class Ranking(NamedTuple, Generic[Name]):
    """Probability of being best."""

    shares: dict[Name, float]
    """They sum to 1; methods that tie for the best share a resample. Empty when there are no two methods or cases."""
    left_out: int
    """Cases that are not defined for every method: not in it."""


def higher_is_better(measure: str) -> bool:
    """Overlaps are better when they are higher, distances when they are lower."""
    return measure not in (*DISTANCES_VOXEL, *DISTANCES_MM)


def compare_methods(scores: Mapping[Name, SeedScores], reference: Name | None, *, higher: bool = True, seed: int = 0,
                    resamples: int = RESAMPLES) -> dict[Name, Standing]:
    """All methods in one measure, each beside the reference.

    Args:
        scores: method to seed to case to score; a seed may be any name of a repetition, such as (draw, seed).
        reference: what the others are compared with; None compares with nothing.
        higher: whether higher scores are better.
        seed: seed of the resampling of cases; all methods see the same resamples.
        resamples: how many.

    Raises:
        UsageError: C2, there is no such reference.
        InputError: P9, the seeds of a method have scores of different cases.
    """
    if reference is not None and reference not in scores:
        raise UsageError("C2", "reference", f"{reference!r} is not among the methods",
                         did_you_mean(str(reference), map(str, scores)))
    cases = {name: averaged(seeds) for name, seeds in scores.items()}
    ranking = probability_of_best(cases, higher=higher, seed=seed, resamples=resamples)
    differences: dict[Name, Difference] = {}
    if reference is not None:
        differences = compare_with(cases, reference, higher=higher, seed=seed, resamples=resamples)
    standings = {}
    for name, seeds in scores.items():
        found, spread = cases[name], over_seeds(seeds)
        interval = case_interval(found.values, seed=seed, resamples=resamples)
        standings[name] = Standing(spread.mean, spread.std, spread.n, interval, ranking.shares.get(name),
                                   differences.get(name), found.undefined)
    return standings


def compare_with(cases: Mapping[Name, Averaged], reference: Name, *, higher: bool = True, seed: int = 0,
                 resamples: int = RESAMPLES) -> dict[Name, Difference]:
    """Every method but the reference against it: paired bootstrap interval, Wilcoxon's test, Holm's correction.

    A method that shares fewer than two defined cases with the reference is left out.

    Args:
        cases: method to seed-averaged case scores.
        reference: one of them.
        higher: whether higher scores are better.
        seed: seed of the resampling of cases.
        resamples: how many.
    """
    base = cases[reference].values
    pairs = {name: sorted(found.values.keys() & base.keys()) for name, found in cases.items() if name != reference}
    pairs = {name: shared for name, shared in pairs.items() if len(shared) >= 2}
    p_values = {name: wilcoxon_p([cases[name].values[case] - base[case] for case in shared])
                for name, shared in pairs.items()}
    corrected = holm(p_values)
    found = {}
    for name, shared in pairs.items():
        own = cases[name].values
        interval = paired_interval({case: own[case] for case in shared}, {case: base[case] for case in shared},
                                   seed=seed, resamples=resamples)
        better = None if interval.mean == 0 else (interval.mean > 0) == higher
        left_out = len({*own, *base, *cases[name].left_out, *cases[reference].left_out}) - len(shared)
        found[name] = Difference(interval, better, p_values[name], corrected[name], left_out)
    return found


def probability_of_best(cases: Mapping[Name, Averaged], *, higher: bool = True, seed: int = 0,
                        resamples: int = RESAMPLES) -> Ranking[Name]:
    """Share of the bootstrap resamples of cases in which each method has the best mean.

    Args:
        cases: method to seed-averaged case scores; a method without any defined score takes no part.
        higher: whether higher scores are better.
        seed: seed of the resampling; all methods see the same resamples.
        resamples: how many.
    """
    known = {name: found.values for name, found in cases.items() if found.values}
    everything = {case for values in known.values() for case in values}
    shared = sorted(case for case in everything if all(case in values for values in known.values()))
    if len(known) < 2 or len(shared) < 2:
        return Ranking({}, len(everything) - len(shared))
    table = np.array([[values[case] for values in known.values()] for case in shared])
    means = resampled_means(table if higher else -table, seed=seed, resamples=resamples)
    # a billionth: sums of equal scores in another order are equal
    first = means >= means.max(axis=1, keepdims=True) - 1e-9 * np.abs(table).max()
    shares = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return Ranking(dict(zip(known, map(float, shares), strict=True)), len(everything) - len(shared))
