"""Intervals over cases, by resampling cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from semivox.errors import InputError
from semivox.seeding import numpy_generator

RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int
    """Cases behind it."""


def paired_interval(ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0,
                    level: float = 0.95) -> Interval:
    """Mean difference ``ours - theirs`` over the same cases, with a percentile bootstrap interval.

    Args:
        ours: score of each case (mean over seeds first, where there are several).
        theirs: the same of the reference.
        seed: seed of the resampling, 10,000 draws of cases with replacement.
        level: coverage of the interval, 0..1.

    Raises:
        InputError: when the cases differ or there are fewer than two.
    """
    if ours.keys() != theirs.keys() or len(ours) < 2:
        different = sorted(ours.keys() ^ theirs.keys())[:5]
        raise InputError("P9", "paired comparison", f"{len(ours)} and {len(theirs)} cases, not shared: {different}",
                         "compare scores of the same two or more cases")
    differences = np.array([ours[case] - theirs[case] for case in sorted(ours)])
    draws = numpy_generator(seed, "bootstrap").integers(len(differences), size=(RESAMPLES, len(differences)))
    means = differences[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high), len(differences))
