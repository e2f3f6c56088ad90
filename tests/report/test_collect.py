import json
import shutil

import pytest
from synthetic import STEPS, synthetic_comparison

from semivox.errors import InputError, UsageError
from semivox.fsio import read_json, write_json
from semivox.report.collect import collect, collect_run, spec_of, without_paths


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    path = tmp_path_factory.mktemp("collect") / "out"
    synthetic_comparison(path, ("supervised", "mean_teacher", "caml"), cases=3, peek_every=20, states={
        ("mean_teacher", 1): "failed", ("caml", 0): "stopped", ("caml", 1): "waiting"})
    return path


@pytest.fixture
def copy(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    return tmp_path / "out"


def test_runs_are_read_in_the_order_of_the_matrix(out):
    found = collect(out)
    assert [run.spec for run in found.runs] == list(found.matrix.runs)
    assert [run.spec.label for run in found.finished] == ["supervised", "supervised", "Mean Teacher",
                                                          *["supervised (all labels)"] * 2]
    run = found.finished[0]
    assert list(run.scores) == ["last", "best_validation", "step_20", "step_40"]
    assert list(run.stepwise()) == [20, 40]
    assert run.config["engine"]["steps"] == STEPS
    assert run.environment["processor"] == "Example CPU"
    assert run.origin["split"]["labeled"] == [f"ball_{number}" for number in range(900, 904)]
    assert run.plan["recipe"] == "la_half"
    assert run.steps_done == STEPS
    assert run.job.seconds["train"] == 1.5 * STEPS


def test_runs_that_are_not_finished_are_listed_with_the_reason(out):
    reasons = {(run.spec.method, run.spec.seed): run.reason for run in collect(out).unfinished}
    assert reasons == {
        ("mean_teacher", 1): "failed: the loss is not finite at step 12 (SVX-T9)",
        ("caml", 0): f"stopped at step {STEPS // 2} of {STEPS}",
        ("caml", 1): "not started",
    }


def test_damaged_runs_do_not_keep_the_others_from_the_table(copy):
    first, second, third, *_ = (copy / spec.path for spec in collect(copy).matrix.runs)
    (first / "scores" / "last" / "cases.csv").write_text("nonsense\n1\n")
    shutil.rmtree(second / "scores" / "last")
    (third / "config.json").write_text("[]")
    found = collect(copy)
    reasons = [run.reason for run in found.runs[:3]]
    assert reasons[0].startswith("cannot be read: cases.csv not what `semivox evaluate` writes")
    assert reasons[1] == "done, but scores/last is missing"
    assert reasons[2] == "cannot be read: config.json found a JSON list, an object is needed"
    assert len(found.finished) == 2
    assert str(copy) not in " ".join(map(str, reasons))


@pytest.mark.parametrize(("key", "value", "said"), [("protocol", "clinical", "protocol clinical, the comparison "
                                                     "literature"), ("legacy", True, "--legacy")])
def test_scores_under_other_rules_are_not_mixed_in(copy, key, value, said):
    summary = copy / collect(copy).matrix.runs[0].path / "scores" / "best_validation" / "summary.json"
    write_json(summary, {**read_json(summary), key: value})
    assert said in collect(copy).runs[0].reason


def test_a_row_of_the_log_that_is_just_being_written_is_left_out(copy):
    metrics = copy / collect(copy).matrix.runs[0].path / "metrics.jsonl"
    complete = len(metrics.read_text().splitlines())
    with open(metrics, "a") as stream:
        stream.write('{"step": 44, "lo')
    assert len(collect(copy).runs[0].metrics) == complete
    metrics.write_text('{"step": 4\n{"step": 8}\n')
    assert "line 1 is not JSON" in collect(copy).runs[0].reason


def test_a_folder_that_is_no_comparison_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no matrix\.json"):
        collect(tmp_path)


def test_a_single_run_is_read_with_its_name_from_its_configuration(out):
    matrix = collect(out).matrix
    found = collect_run(out / matrix.runs[0].path)
    assert found.finished
    assert (found.spec.label, found.spec.labeled, found.spec.role) == ("supervised", 4, "lower_bound")
    assert (found.spec.seed, found.spec.steps) == (0, STEPS)
    assert found.scores.keys() >= {"last", "best_validation"}
    everything = collect_run(out / matrix.runs[-1].path)
    assert (everything.spec.label, everything.spec.labeled) == ("supervised (all labels)", "all")


def test_a_single_run_without_the_notes_of_a_job_goes_by_its_weights(copy):
    folder = copy / collect(copy).matrix.runs[0].path
    (folder / "job.json").unlink()
    shutil.rmtree(folder / "scores")
    assert collect_run(folder).finished
    assert collect_run(folder).scores == {}
    (folder / "weights.safetensors").unlink()
    assert collect_run(folder).reason == f"stopped at step {STEPS} of {STEPS}"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json"):
        collect_run(tmp_path)
    with pytest.raises(InputError, match="SVX-P13"):
        spec_of({"method": "caml"})


def test_dropped_components_are_in_the_name(out):
    config = json.loads((out / collect(out).matrix.runs[2].path / "config.json").read_text())
    config["method"] = {"name": "caml", "drop": ["occ"]}
    assert spec_of(config).label == "CAML without OCC"


@pytest.mark.parametrize(("text", "left"), [
    ("/home/someone/out/run: no space", "(path): no space"), ("cannot read '/data/x/y.nii.gz' twice",
                                                              "cannot read (path) twice"),
    ("'/home/jane doe/data/Smith_John.nii.gz'", "(path)"), ("/home/jane: permission denied",
                                                            "(path): permission denied"),
    ('"/home/jane o\'neil/x y.nii" is gone', "(path) is gone"), (r"C:\Users\Jane Doe\x.nii", "(path)"),
    ("C:/Users/Jane Doe/x.nii is gone", "(path) is gone"), ("file:///home/jane/x", "(path)"),
    ("//server/share/jane/x", "(path)"), (r"\\server\share\jane doe\x", "(path)"), ("~/scans/y.nii", "(path)"),
    ("~jane/scans/y.nii", "(path)"), ("path=/home/jane/x, 8 steps", "path=(path), 8 steps"),
    ("/home/jane/x and /home/john/y differ", "(path) and (path) differ"), ("['/a/b c', '/d']", "[(path), (path)]"),
    ("/home/jane doe/x is gone", "(path) is gone"),
    ("semivox compare /data/a /data/b --set x.y=1/2", "semivox compare (path) (path) --set x.y=1/2"),
    ("1/2 of a/b", "1/2 of a/b"), ("1 / 2 and 3 / 4", "1 / 2 and 3 / 4"), ("imagesTr/case_1.nii.gz: it's cut off",
                                                                      "imagesTr/case_1.nii.gz: it's cut off"),
    ("see https://example.org/a/b", "see https://example.org/a/b"),
])
def test_texts_lose_absolute_paths_and_nothing_else(text, left):
    assert without_paths(text) == left
