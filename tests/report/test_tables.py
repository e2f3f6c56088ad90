import pytest
from synthetic import synthetic_comparison

from semivox.metrics.conventions import PROTOCOLS
from semivox.report.collect import collect
from semivox.report.tables import LEAKY, main_table, paired_rows

METHODS = ("supervised", "mean_teacher", "caml")


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "out"
    synthetic_comparison(path, METHODS, cases=4, peek_every=20, states={("mean_teacher", 1): "failed"})
    return collect(path)


@pytest.fixture(scope="module")
def table(collected):
    return main_table(collected, resamples=300)


def footnotes_of(table, label):
    return [table.footnotes[number] for row, marks in zip(table.rows, table.marks, strict=True)
            if row.label == label for number in marks]


def test_a_table_has_the_measures_of_one_protocol(table, tmp_path):
    assert table.measures == PROTOCOLS["literature"]
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2, protocol="clinical")
    clinical = main_table(collect(tmp_path / "out"), resamples=50)
    assert clinical.measures == PROTOCOLS["clinical"]
    assert set(clinical.rows[0].spread) == set(PROTOCOLS["clinical"])


def test_notes_explain_every_number(table):
    notes = " ".join(table.notes)
    for said in ("last checkpoint", "standard deviation over seeds", "300 resamples", "nothing about other seeds",
                 "Holm", "Wilcoxon", "Lower is better: HD95 voxel, ASD voxel", "image diagonal", "lower bound (0 %)",
                 "By validation: ", LEAKY):
        assert said in notes
    assert "labeled draws" not in notes


def test_footnotes_of_the_program_mark_their_rows(table):
    assert "It trains on 4 labeled patches a step, the others on 2 and 2." in footnotes_of(table, "supervised")
    assert footnotes_of(table, "CAML") == []


def test_footnotes_say_what_is_missing_and_what_that_means(table):
    assert footnotes_of(table, "Mean Teacher") == [
        "Not in the table: seed 1: failed: the loss is not finite at step 12 (SVX-T9).",
        "Its seeds or draws are not those of the reference: the difference contains theirs."]


def test_peeking_is_shown_only_when_it_was_asked_for(collected, table):
    assert table.peeking
    hidden = main_table(collected, peeking=False, resamples=50)
    assert not hidden.peeking
    assert all(row.peeked is None for row in hidden.rows)
    assert LEAKY not in " ".join(hidden.notes)


def test_paired_table_has_every_difference_in_every_measure(table):
    found = paired_rows(table)
    assert [(row.label, row.measure) for row in found] == [
        (label, measure) for label in ("Mean Teacher", "CAML") for measure in PROTOCOLS["literature"]]
    assert {row.reference for row in found} == {"supervised"}
    assert next(row.difference for row in found if row.label == "CAML").better


def test_several_classes_are_named(tmp_path):
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2, classes=3)
    found = collect(tmp_path / "out")
    assert "The score of a case is the mean over its classes: part 1, part 2." in main_table(found, resamples=50).notes
    assert main_table(found, label=2, resamples=50).dataset == "balls, part 2"


def test_undefined_scores_are_said(collected):
    run = collected.runs[0]
    last = run.scores["last"]
    rows = (last.rows[0]._replace(values=dict.fromkeys(last.rows[0].values)), *last.rows[1:])
    changed = run._replace(scores={**run.scores, "last": last._replace(rows=rows)})
    found = main_table(collected._replace(runs=(changed, *collected.runs[1:])), resamples=50)
    assert any("in no mean: 1 of Dice %, 1 of Jaccard %" in text for text in footnotes_of(found, "supervised"))


def test_a_comparison_without_a_finished_run_is_a_table_of_reasons(tmp_path):
    states = {(method, 0): "waiting" for method in METHODS}
    synthetic_comparison(tmp_path / "out", METHODS, seeds=(0,), cases=2, states=states)
    found = main_table(collect(tmp_path / "out"), resamples=50)
    assert footnotes_of(found, "CAML") == ["No run is in the table: seed 0: not started."]
    assert paired_rows(found) == []


def test_the_same_runs_give_the_same_table(collected, table):
    assert main_table(collected, resamples=300) == table
