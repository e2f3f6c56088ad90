import numpy as np
import pytest
from scipy import stats

from semivox.errors import InputError
from semivox.evaluation.statistics import (
    RESAMPLES,
    Averaged,
    averaged,
    case_interval,
    holm,
    over_seeds,
    paired_interval,
    resampled_means,
    spread,
    wilcoxon_p,
)


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


def test_few_draws_at_once_are_as_good_as_all_together(monkeypatch):
    values = np.random.default_rng(2).normal(80, 5, (20, 3))
    whole = resampled_means(values, resamples=500)
    monkeypatch.setattr("semivox.evaluation.statistics.DRAWN_AT_ONCE", 60 * 7)
    pieces = resampled_means(values, resamples=500)
    assert pieces.shape == whole.shape == (500, 3)
    assert pieces.mean(axis=0) == pytest.approx(whole.mean(axis=0), abs=0.3)


def test_interval_over_cases_is_that_of_scipy_within_the_noise_of_resampling():
    values = np.random.default_rng(3).beta(8, 2, 25) * 100
    found = case_interval(named(values))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=RESAMPLES,
                             random_state=np.random.default_rng(4)).confidence_interval
    noise = 0.12 * values.std(ddof=1) / 5  # four times the error of two estimated quantiles
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=noise)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 5, rel=0.15)


@pytest.mark.parametrize(("draw", "truth"), [
    (lambda rng: rng.normal(80, 6, 30), 80.0), (lambda rng: 100 * rng.beta(9, 1.5, 30), 100 * 9 / 10.5),
], ids=["normal", "skewed"])
def test_intervals_of_cases_cover_the_truth_as_often_as_they_say(draw, truth):
    rng = np.random.default_rng(5)
    found = [case_interval(named(draw(rng)), seed=seed, resamples=1000) for seed in range(300)]
    assert 0.90 <= np.mean([interval.low <= truth <= interval.high for interval in found]) <= 0.98


def test_no_interval_for_a_single_case():
    assert case_interval({"a": 80.0}) is None


def test_spread_over_seeds_is_that_of_their_means():
    found = over_seeds({0: {"a": 80, "b": 90}, 1: {"a": 70, "b": 84}, 2: {"a": 90, "b": 100}})
    assert found.mean == pytest.approx((85 + 77 + 95) / 3)
    assert found.std == pytest.approx(np.std([85, 77, 95], ddof=1))
    assert over_seeds({0: {"a": 80}}).std is None


def test_scores_that_are_not_defined_are_in_no_mean_and_counted():
    found = averaged({0: {"a": 4.0, "b": None, "c": None}, 1: {"a": 6.0, "b": float("nan"), "c": 8.0}})
    assert found == Averaged({"a": 5.0, "c": 8.0}, 3, ("b",))
    assert over_seeds({0: {"a": None}, 1: {"a": 3.0}}) == (3.0, None, 1)


def test_infinite_scores_are_refused():
    with pytest.raises(ValueError, match="infinite"):
        averaged({0: {"a": float("inf")}})


def test_seeds_on_different_cases_are_refused_with_the_case():
    with pytest.raises(InputError, match="scores of b"):
        averaged({0: {"a": 1.0, "b": 2.0}, 1: {"a": 1.0}})


def test_spread_over_draws_is_kept_apart_from_that_over_seeds():
    scores = {None: {0: {"a": 80.0}, 1: {"a": 84.0}}, 1: {0: {"a": 70.0}, 1: {"a": 76.0}}}
    found = spread(scores)
    assert found.mean == pytest.approx((82 + 73) / 2)
    assert found.draws == pytest.approx(np.std([82, 73], ddof=1))
    assert found.seeds == pytest.approx(np.sqrt((8 + 18) / 2))  # variances 8 and 18
    assert (found.n_seeds, found.n_draws) == (2, 2)


def test_spread_of_unequal_draws_weighs_their_variances_by_freedom():
    scores = {0: {0: {"a": 1.0}, 1: {"a": 3.0}, 2: {"a": 5.0}}, 1: {0: {"a": 2.0}, 1: {"a": 4.0}}}
    found = spread(scores)
    assert found.seeds == pytest.approx(np.sqrt((2 * 4 + 1 * 2) / 3))
    assert found.n_seeds == 2


def test_one_draw_and_one_seed_have_no_spread():
    assert spread({None: {0: {"a": 80.0}}}) == (80.0, None, None, 1, 1)


def test_wilcoxon_is_scipy_s():
    differences = list(np.random.default_rng(6).normal(1, 3, 20))
    assert wilcoxon_p(differences) == stats.wilcoxon(differences).pvalue
    assert wilcoxon_p([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 2**5)  # all of one sign, of 32 equally likely
    assert wilcoxon_p([0.0, 0.0]) == 1.0
    assert wilcoxon_p([]) is None


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": None})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
