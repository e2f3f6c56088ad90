import math

import numpy as np
import pytest
from scipy import stats
from synthetic import STEPS, synthetic_comparison

from semivox.matrix import write_matrix
from semivox.metrics.conventions import PROTOCOLS
from semivox.report.collect import collect
from semivox.report.peeking import peek
from semivox.report.rows import Request, reference_of, rows_of
from semivox.report.tables import footnotes_of

METHODS = ("supervised", "mean_teacher", "caml")
REQUEST = Request(PROTOCOLS["literature"], resamples=300)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "out"
    synthetic_comparison(path, METHODS, labeled=(4, 8), cases=5, dropped={"caml": ("occ",)}, peek_every=20,
                         states={("mean_teacher", 1): "failed"}, missed=[("caml", 0, 2)])
    return collect(path)


@pytest.fixture(scope="module")
def rows(collected):
    return rows_of(collected, REQUEST)


def named(rows, label, labeled=4):
    return next(row for row in rows if (row.label, row.labeled) == (label, labeled))


def dice_of(row):
    return np.array([list(run.scores["last"].by_case("dice").values()) for run in row.runs])


def test_rows_begin_with_the_lower_bound_and_end_with_the_upper(rows):
    methods = ["supervised", "Mean Teacher", "CAML", "CAML without OCC"]
    assert [(row.label, row.labeled) for row in rows] == [
        *((name, 4) for name in methods), *((name, 8) for name in methods), ("supervised (all labels)", "all")]
    assert [row.role for row in rows] == ["lower_bound", *["method"] * 3, "lower_bound", *["method"] * 3,
                                          "upper_bound"]


def test_mean_and_spread_are_over_seeds(rows):
    row = named(rows, "CAML")
    means = dice_of(row).mean(axis=1)
    assert row.spread["dice"].mean == pytest.approx(means.mean())
    assert row.spread["dice"].seeds == pytest.approx(means.std(ddof=1))
    assert row.spread["dice"].draws is None
    assert row.standing["dice"].interval.n == 5


def test_methods_are_compared_with_the_reference_of_as_many_labels(rows):
    for labeled in (4, 8):
        reference, row = named(rows, "supervised", labeled), named(rows, "CAML", labeled)
        differences = dice_of(row).mean(axis=0) - dice_of(reference).mean(axis=0)
        found = row.standing["dice"].difference
        assert found.interval.mean == pytest.approx(differences.mean())
        assert found.p == pytest.approx(stats.wilcoxon(differences).pvalue)
        assert reference.standing["dice"].difference is None
    assert named(rows, "supervised (all labels)", "all").standing["dice"].difference is None
    assert named(rows, "supervised (all labels)", "all").standing["dice"].best is None


def test_probabilities_of_being_best_are_among_rows_with_as_many_labels(rows):
    for labeled in (4, 8):
        shares = [row.standing["hd95_voxel"].best for row in rows if row.labeled == labeled]
        assert len(shares) == 4
        assert sum(shares) == pytest.approx(1)


def test_missed_structures_are_counted_over_all_runs(rows):
    assert (named(rows, "CAML").missed, named(rows, "CAML").structures) == (1, 10)
    assert (named(rows, "Mean Teacher").missed, named(rows, "Mean Teacher").structures) == (0, 5)


def test_unfinished_runs_are_named_in_their_row(rows):
    row = named(rows, "Mean Teacher")
    assert row.lacking == ("seed 1: failed: the loss is not finite at step 12 (SVX-T9)",)
    assert row.repetitions == {(None, 0)}
    assert row.spread["dice"].seeds is None


def test_gap_lies_between_the_bounds(rows):
    row, lower, upper = (named(rows, *name) for name in (("CAML", 4), ("supervised", 4),
                                                         ("supervised (all labels)", "all")))
    means = [each.spread["dice"].mean for each in (row, lower, upper)]
    assert row.gap == pytest.approx((means[0] - means[1]) / (means[2] - means[1]))
    assert lower.gap is None
    assert upper.gap is None


def test_weights_that_are_best_on_validation_stand_beside_the_last(rows):
    row = named(rows, "CAML")
    expected = [run.scores["best_validation"].over_cases("dice").mean for run in row.runs]
    assert row.validation["dice"].mean == pytest.approx(np.mean(expected))


def test_peeking_takes_the_best_step_of_each_run_and_says_what_it_gains(rows):
    row = named(rows, "supervised")
    for run in row.runs:
        means = {step: scores.over_cases("dice").mean for step, scores in run.stepwise().items()}
        found = peek(run)
        assert found.step == STEPS // 2  # the synthetic supervised run is best halfway
        assert found.gain == pytest.approx(means[STEPS // 2] - means[STEPS])
        assert found.gain > 0
    assert row.peeked.gain == pytest.approx(np.mean([peek(run).gain for run in row.runs]))
    assert row.peeked.spread["dice"].mean == pytest.approx(row.spread["dice"].mean + row.peeked.gain)
    assert row.peeked.steps == (STEPS // 2,) * 2
    assert named(rows, "CAML").peeked.gain == 0


def test_nothing_is_peeked_without_kept_weights(tmp_path):
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2, validation=0)
    found = collect(tmp_path / "out")
    assert [peek(run) for run in found.runs] == [None] * 3
    rows = rows_of(found, REQUEST)
    assert all(row.peeked is None and row.validation == {} for row in rows)


def test_spread_over_draws_is_kept_apart(tmp_path):
    synthetic_comparison(tmp_path / "out", cases=3, draws=(None, 1, 2), validation=0)
    row = named(rows_of(collect(tmp_path / "out"), REQUEST), "Mean Teacher")
    by_draw = [np.array([run.scores["last"].over_cases("dice").mean for run in row.runs if run.spec.draw == draw])
               for draw in (None, 1, 2)]
    assert row.spread["dice"].draws == pytest.approx(np.std([seeds.mean() for seeds in by_draw], ddof=1))
    assert row.spread["dice"].seeds == pytest.approx(math.sqrt(np.mean([seeds.var(ddof=1) for seeds in by_draw])))
    assert (row.spread["dice"].n_draws, row.spread["dice"].n_seeds, len(row.runs)) == (3, 2, 6)
    assert "draw" not in row.variant


def test_bounds_are_there_even_when_no_run_of_them_is(tmp_path):
    matrix = synthetic_comparison(tmp_path / "out", cases=2, states={
        ("supervised", 0): "failed", ("supervised", 1): "failed"})
    rows = rows_of(collect(tmp_path / "out"), REQUEST)
    assert [row.label for row in rows] == ["supervised", "Mean Teacher", "supervised (all labels)"]
    assert rows[0].runs == ()
    assert rows[0].spread == rows[0].standing == {}
    assert rows[1].standing["dice"].difference is None
    write_matrix(tmp_path / "out", matrix._replace(runs=tuple(run for run in matrix.runs if run.role == "method")))
    rows = rows_of(collect(tmp_path / "out"), REQUEST)
    assert [(row.label, row.labeled, row.lacking) for row in rows] == [
        ("supervised", 4, ("not planned",)), ("Mean Teacher", 4, ()),
        ("supervised (all labels)", "all", ("not planned",))]
    assert rows[1].gap is None


def test_a_variant_never_stands_in_for_the_reference(tmp_path):
    matrix = synthetic_comparison(tmp_path / "out", cases=2)
    runs = tuple(spec._replace(profile="released") if spec.role == "lower_bound" else spec for spec in matrix.runs)
    rows = rows_of(collect(tmp_path / "out")._replace(matrix=matrix), REQUEST)
    assert reference_of(rows[:2], matrix) is rows[0]
    write_matrix(tmp_path / "out", matrix._replace(runs=runs))
    rows = rows_of(collect(tmp_path / "out"), REQUEST)
    assert reference_of(rows[:2], matrix) is None
    assert named(rows, "Mean Teacher").standing["dice"].difference is None
    assert any("no finished run of the reference" in note
               for note in footnotes_of(named(rows, "Mean Teacher"), rows, matrix))


def test_runs_of_another_length_are_rows_of_their_own(tmp_path):
    matrix = synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2)
    longer = matrix.runs[1]._replace(path="elsewhere", steps=80)
    write_matrix(tmp_path / "out", matrix._replace(runs=(*matrix.runs, longer)))
    labels = [row.label for row in rows_of(collect(tmp_path / "out"), REQUEST)]
    assert f"Mean Teacher, {STEPS} steps" in labels
    assert "Mean Teacher, 80 steps" in labels


def test_one_class_has_its_own_rows(tmp_path):
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=3, classes=3)
    found = collect(tmp_path / "out")
    means = [rows_of(found, REQUEST._replace(label=label))[1].spread["dice"].mean for label in (1, 2, None)]
    assert means[2] == pytest.approx((means[0] + means[1]) / 2)
    assert means[0] != means[1]


def test_a_single_run_is_not_told_about_bounds(collected):
    alone = collected._replace(runs=collected.runs[2:3])
    assert [row.label for row in rows_of(alone, REQUEST)] == ["Mean Teacher"]
