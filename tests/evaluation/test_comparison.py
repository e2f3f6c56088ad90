import numpy as np
import pytest
from scipy import stats

from semivox.errors import UsageError
from semivox.evaluation.comparison import (
    compare_methods,
    compare_with,
    higher_is_better,
    probability_of_best,
)
from semivox.evaluation.statistics import averaged, paired_interval
from semivox.metrics.conventions import MEASURES


def named(values):
    return {f"case_{index}": value for index, value in enumerate(values)}


def one_seed(values):
    return {0: named(values)}


def some_methods(rng, cases=20, seeds=2):
    base = rng.normal(75, 8, cases)
    shift = {"supervised": 0.0, "mean_teacher": 2.0, "caml": 4.0}
    return {name: {seed: named(base + gain + rng.normal(0, 3, cases)) for seed in range(seeds)}
            for name, gain in shift.items()}


def test_overlaps_rise_and_distances_fall():
    assert [name for name in MEASURES if higher_is_better(name)] == ["dice", "jaccard", "nsd"]


def test_standings_are_what_the_single_statistics_give():
    scores = some_methods(np.random.default_rng(0))
    found = compare_methods(scores, "supervised", resamples=2000)
    cases = {name: averaged(seeds).values for name, seeds in scores.items()}
    differences = [cases["caml"][case] - cases["supervised"][case] for case in sorted(cases["caml"])]
    caml = found["caml"]
    assert caml.difference.interval == paired_interval(cases["caml"], cases["supervised"], resamples=2000)
    assert caml.difference.p == stats.wilcoxon(differences).pvalue
    assert caml.mean == pytest.approx(np.mean(list(cases["caml"].values())))
    assert caml.std == pytest.approx(np.std([np.mean(list(values.values())) for values in scores["caml"].values()],
                                            ddof=1))
    assert found["supervised"].difference is None


def test_p_values_are_corrected_across_the_methods():
    found = compare_methods(some_methods(np.random.default_rng(1)), "supervised", resamples=100)
    first, second = sorted((found[name].difference for name in ("mean_teacher", "caml")), key=lambda one: one.p)
    assert first.p_holm == pytest.approx(2 * first.p)
    assert second.p_holm == pytest.approx(max(second.p, 2 * first.p))


def test_probabilities_of_being_best_sum_to_one_and_follow_the_direction():
    scores = {"low": one_seed([1.0, 2.0, 3.0]), "high": one_seed([2.0, 3.0, 4.0])}
    for higher, expected in ((True, {"low": 0.0, "high": 1.0}), (False, {"low": 1.0, "high": 0.0})):
        found = compare_methods(scores, None, higher=higher, resamples=200)
        assert {name: standing.best for name, standing in found.items()} == expected
    scores = some_methods(np.random.default_rng(2))
    assert sum(standing.best for standing in compare_methods(scores, None, resamples=200).values()) == pytest.approx(1)


def test_probability_of_being_best_by_hand():
    # two cases drawn with replacement: both the first (1/4), both the second (1/4), one of each (1/2)
    cases = {"steady": averaged(one_seed([50.0, 50.0])), "mixed": averaged(one_seed([90.0, 0.0]))}
    found = probability_of_best(cases, resamples=20_000)
    assert found.shares["steady"] == pytest.approx(3 / 4, abs=0.015)


def test_methods_that_tie_share_the_resample():
    cases = {name: averaged(one_seed([0.1 + 0.2, 5.0])) for name in ("a", "b")}
    cases["c"] = averaged(one_seed([0.3, 5.0]))
    assert probability_of_best(cases, resamples=50).shares == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


def test_a_method_alone_is_not_called_best():
    found = compare_methods({"a": one_seed([1.0, 2.0])}, "a")["a"]
    assert found.best is None
    assert found.std is None
    assert found.seeds == 1


def test_lower_distances_are_better_though_the_difference_is_negative():
    scores = {"supervised": one_seed([9.0, 8.0, 7.0]), "caml": one_seed([5.0, 5.0, 5.0])}
    found = compare_methods(scores, "supervised", higher=False, resamples=100)["caml"].difference
    assert found.interval.mean == pytest.approx(-3)
    assert found.better is True
    assert compare_methods(scores, "supervised", resamples=100)["caml"].difference.better is False


def test_equal_methods_are_neither_better_nor_worse():
    scores = {"a": one_seed([1.0, 2.0, 3.0]), "b": one_seed([1.0, 2.0, 3.0])}
    found = compare_methods(scores, "a", resamples=100)["b"].difference
    assert (found.better, found.p, found.p_holm) == (None, 1.0, 1.0)


def test_cases_that_one_of_both_lacks_are_left_out_and_counted():
    scores = {"a": one_seed([1.0, 2.0, None, None, 5.0]), "b": one_seed([2.0, None, 3.0, float("nan"), 5.5])}
    found = compare_methods(scores, "a", resamples=100)
    assert found["b"].difference.interval.n == 2
    assert found["b"].difference.interval.mean == pytest.approx(0.75)
    assert found["b"].difference.left_out == 3
    assert (found["a"].undefined, found["b"].undefined) == (2, 2)
    cases = {name: averaged(seeds) for name, seeds in scores.items()}
    assert probability_of_best(cases, resamples=50).left_out == 2  # the case that none has counts for nobody


def test_too_few_shared_cases_give_no_difference():
    scores = {"a": one_seed([1.0, None, 3.0]), "b": one_seed([None, 2.0, 3.0]), "c": one_seed([None, None, None])}
    found = compare_methods(scores, "a", resamples=50)
    assert found["b"].difference is None
    assert found["c"] == (None, None, 0, None, None, None, 3)
    assert found["b"].best is None


def test_the_same_seed_gives_the_same_numbers():
    scores = some_methods(np.random.default_rng(3))
    assert compare_methods(scores, "caml", seed=5, resamples=300) == compare_methods(scores, "caml", seed=5,
                                                                                     resamples=300)
    cases = {name: averaged(seeds) for name, seeds in scores.items()}
    assert compare_with(cases, "caml", seed=5, resamples=300) != compare_with(cases, "caml", seed=6, resamples=300)


def test_a_reference_that_is_not_there_is_refused_with_the_near_one():
    with pytest.raises(UsageError, match="did you mean 'supervised'"):
        compare_methods({"supervised": one_seed([1.0, 2.0])}, "supervized")


@pytest.mark.parametrize("higher", [True, False])
def test_paired_intervals_cover_the_true_difference_as_often_as_they_say(higher):
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(300):
        base = rng.normal(70, 10, 25)
        scores = {"a": one_seed(base), "b": one_seed(base + rng.normal(1.5, 4, 25))}
        found = compare_methods(scores, "a", higher=higher, seed=seed, resamples=600)["b"].difference.interval
        covered += found.low <= 1.5 <= found.high
    assert 0.90 <= covered / 300 <= 0.98
