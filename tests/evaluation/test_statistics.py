import numpy as np
import pytest

from semivox.errors import InputError
from semivox.evaluation.statistics import paired_interval


def named(values):
    return {f"case_{index}": float(value) for index, value in enumerate(values)}


def test_the_mean_difference_is_exact_and_inside_the_interval():
    found = paired_interval(named([80, 90, 70]), named([70, 85, 71]))
    assert found.mean == pytest.approx((10 + 5 - 1) / 3)
    assert found.low <= found.mean <= found.high
    assert found.n == 3


def test_a_constant_difference_has_no_spread():
    found = paired_interval(named([3, 5, 9]), named([1, 3, 7]))
    assert (found.low, found.high) == pytest.approx((2, 2))


def test_the_same_seed_gives_the_same_interval_and_swapping_mirrors_it():
    rng = np.random.default_rng(1)
    ours, theirs = named(rng.normal(80, 5, 20)), named(rng.normal(78, 5, 20))
    first, again, mirrored = paired_interval(ours, theirs), paired_interval(ours, theirs), paired_interval(theirs, ours)
    assert first == again
    assert mirrored.low == pytest.approx(-first.high)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        differences = rng.normal(2.0, 3.0, 30)
        found = paired_interval(named(differences), named(np.zeros(30)), seed=seed)
        covered += found.low <= 2.0 <= found.high
    assert 86 <= covered <= 100


def test_different_cases_are_refused_with_their_names():
    with pytest.raises(InputError, match="case_2"):
        paired_interval(named([1, 2, 3]), named([1, 2]))
