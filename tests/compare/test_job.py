"""One run from nothing to its scores; whatever happens on the way, the same call does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from matrix_material import STEPS, tiny_comparison

from semivox.compare import job, scoring
from semivox.compare.drive import missing
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.engine import deploy, loop
from semivox.errors import InputError
from semivox.evaluation.evaluate import RESULT_FILES
from semivox.fsio import sha256_file
from semivox.matrix import Matrix, read_job


@pytest.fixture
def comparison(toy_store, tmp_path: Path) -> tuple[Path, Matrix]:
    return tmp_path / "out", tiny_comparison(toy_store, tmp_path / "out")


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their training."""
    monkeypatch.setattr(scoring, "predict_tests", lambda *arguments: None)
    monkeypatch.setattr(scoring, "evaluate_tests", lambda *arguments, protocol: None)


def work(out: Path, path: str) -> int:
    return job.main([str(out), path])


def test_run_is_trained_predicted_and_scored_once(comparison) -> None:
    out, matrix = comparison
    spec = matrix.runs[0]
    folder = out / spec.path
    assert work(out, spec.path) == 0
    record = read_job(folder)
    assert (record.state, record.error, record.attempts) == ("done", None, 1)
    assert set(record.seconds) == {"train", "predict", "evaluate"}
    assert record.peak_memory_mb > 100
    assert json.loads((folder / "config.json").read_text())["engine"]["steps"] == STEPS
    assert len(list((folder / "predictions/last").glob("*.nii.gz"))) == 2
    assert all((folder / "scores/last" / name).is_file() for name in RESULT_FILES)
    summary = json.loads((folder / "scores/last/summary.json").read_text())
    assert summary["protocol"] == "clinical"

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != job.JOB_LOCK}
    assert work(out, spec.path) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != job.JOB_LOCK} == before


def test_what_is_there_is_not_done_again(comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    out, matrix = comparison
    path = matrix.runs[0].path
    folder = out / path
    evaluate = scoring.evaluate

    def fails(*arguments: Any, **options: Any) -> None:
        raise InputError("P9", "case", "lies on another grid", "resample it")

    monkeypatch.setattr(scoring, "evaluate", fails)
    assert work(out, path) == 3
    record = read_job(folder)
    assert record.state == "failed"
    assert record.error == {"code": "P9", "subject": "case", "problem": "lies on another grid", "fix": "resample it",
                            "exit_code": 3}
    weights, maps = sha256_file(folder / "weights.safetensors"), sorted((folder / "predictions/last").glob("*.nii.gz"))
    maps[0].unlink()
    kept = maps[1].stat().st_mtime_ns

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    monkeypatch.setattr(loop, "train_step", None)
    assert work(out, path) == 0
    record = read_job(folder)
    assert (record.state, record.error, record.attempts) == ("done", None, 2)
    assert sha256_file(folder / "weights.safetensors") == weights
    assert (maps[0].is_file(), maps[1].stat().st_mtime_ns) == (True, kept)


@pytest.mark.usefixtures("unscored")
def test_start_that_was_killed_before_its_first_checkpoint_is_cleared_away(comparison) -> None:
    out, matrix = comparison
    folder = out / matrix.runs[0].path
    (folder / "checkpoints/00000000").mkdir(parents=True)
    (folder / "config.json").write_text("{")
    (folder / ".tmp-1-job.json").write_text("{")
    assert work(out, matrix.runs[0].path) == 0
    assert read_job(folder).state == "done"


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("damage", ["{", "[]", '{"state": "asleep"}'])
def test_damaged_record_is_one_run_that_is_worked_on_again(comparison, monkeypatch, damage: str) -> None:
    out, matrix = comparison
    monkeypatch.setattr(job, "train", lambda *arguments: False)
    monkeypatch.setattr(deploy, "available_weights", lambda folder: [])
    first = matrix.runs[0].path
    (out / first).mkdir(parents=True)
    (out / first / "job.json").write_text(damage)
    assert missing(out, matrix) == [spec.path for spec in matrix.runs]
    assert work(out, first) == 0
    assert read_job(out / first).state == "done"
    assert missing(out, matrix) == [spec.path for spec in matrix.runs[1:]]


@pytest.mark.parametrize(("broken", "code"), [("best_validation", 0), ("step_2", 0), ("last", 3)])
def test_other_weights_that_cannot_be_scored_do_not_fail_the_run(comparison, monkeypatch, capsys, broken, code) -> None:
    out, matrix = comparison
    order: list[str] = []

    def predict(store: Any, folder: Path, name: str) -> None:
        order.append(name)
        if name == broken:
            raise InputError("P9", name, "is damaged", "restore it")

    monkeypatch.setattr(job, "train", lambda *arguments: False)
    monkeypatch.setattr(deploy, "available_weights", lambda folder: ["best_validation", "last", "step_2"])
    monkeypatch.setattr(scoring, "predict_tests", predict)
    monkeypatch.setattr(scoring, "evaluate_tests", lambda *arguments, protocol: None)
    assert work(out, matrix.runs[0].path) == code
    assert order == ["last", "best_validation", "step_2"][:3 if code == 0 else 1]
    assert read_job(out / matrix.runs[0].path).state == ("done" if code == 0 else "failed")
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("unscored")
def test_stopped_run_goes_on_at_its_checkpoint(comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    out, matrix = comparison
    path = matrix.runs[0].path
    step = loop.train_step
    done: list[int] = []

    def step_then_signal(training: Any, *arguments: Any) -> None:
        step(training, *arguments)
        done.append(training.step)
        if training.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "train_step", step_then_signal)
    assert work(out, path) == 75
    assert read_job(out / path).state == "stopped"
    assert done == [0, 1]
    assert work(out, path) == 0
    assert done == [0, 1, 2, 3]
    assert read_job(out / path).attempts == 2


def test_signal_outside_of_training_stops_too(comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    out, matrix = comparison
    path = matrix.runs[0].path

    def ask(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr(job, "train", ask)
    handler = signal.getsignal(signal.SIGTERM)
    assert work(out, path) == 75
    assert read_job(out / path).state == "stopped"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_error_that_nobody_thought_of_is_kept_with_its_traceback(comparison, monkeypatch, capsys) -> None:
    out, matrix = comparison

    def breaks(*arguments: Any) -> None:
        raise RuntimeError("the moon is full")

    monkeypatch.setattr(job, "train", breaks)
    assert work(out, matrix.runs[0].path) == 1
    error = read_job(out / matrix.runs[0].path).error
    assert (error["code"], error["problem"]) == ("BUG", "the moon is full")
    assert "Traceback" in capsys.readouterr().err


def test_other_store_is_refused(comparison, make_store, tmp_path: Path) -> None:
    out, matrix = comparison
    for path, words in ((make_store(unlabeled=0).path, "has changed"), (tmp_path / "gone", "is not there")):
        text = json.loads((out / "matrix.json").read_text()) | {"store": str(path)}
        (out / "matrix.json").write_text(json.dumps(text))
        assert work(out, matrix.runs[0].path) == 7
        assert words in read_job(out / matrix.runs[0].path).error["problem"]


def test_run_that_another_process_holds_is_left_alone(comparison, monkeypatch, capsys) -> None:
    out, matrix = comparison
    monkeypatch.setattr(job, "LOCK_PATIENCE_S", 0.1)
    folder = out / matrix.runs[0].path
    folder.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", "import fcntl, sys; stream = open(sys.argv[1], 'a+'); "
                               "fcntl.lockf(stream, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()",
                               str(folder / job.JOB_LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        assert work(out, matrix.runs[0].path) == 6
        assert "SVX-T22" in capsys.readouterr().err
        assert not (folder / "job.json").exists()
    finally:
        holder.kill()
        holder.wait()


def test_lock_is_waited_for(tmp_path: Path) -> None:
    script = ("import fcntl, sys, time; stream = open(sys.argv[1], 'a+'); fcntl.lockf(stream, fcntl.LOCK_EX); "
              "print(1, flush=True); time.sleep(0.5)")
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / job.JOB_LOCK)], stdout=subprocess.PIPE)
    holder.stdout.readline()
    started = time.monotonic()
    with job.lock_job(tmp_path):
        assert time.monotonic() - started > 0.3
    assert holder.wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux alone")
def test_job_of_a_driver_that_has_died_ends_at_once() -> None:
    script = ("from semivox.compare.stop import Stop, end_with_driver\n"
              "try:\n    end_with_driver()\nexcept Stop:\n    print('stopped')\n")
    paths = os.pathsep.join(path for path in sys.path if path)
    for driver, words in ((os.getpid(), ""), (os.getpid() + 1, "stopped\n")):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                              env={**os.environ, "PYTHONPATH": paths, DRIVER_VARIABLE: str(driver)})
        assert done.stdout == words


def test_job_needs_both_arguments(capsys) -> None:
    assert job.main(["out"]) == 2
    assert "python -m semivox.compare.job OUT RUN_PATH" in capsys.readouterr().err
