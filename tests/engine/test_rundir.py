from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from run_material import (
    command,
    finish,
    generations_of,
    rows_of,
    start,
    tiny_config,
    train,
    train_and_stop,
    train_command,
    untimed_rows_of,
    wait_until,
    weights_of,
)

from semivox.cli import run as run_command
from semivox.data.store import Store
from semivox.engine.deploy import load_deployed
from semivox.engine.rundir import RunDirectory, create_run
from semivox.engine.train import resume_run
from semivox.errors import CheckpointError, InputError, UsageError


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


# --- starting --------------------------------------------------------------------------------------------------


def test_training_where_something_is_exits_2_names_resume_and_touches_nothing(
    toy_store, finished_run, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run("supervised").path
    before = tree(run)
    capsys.readouterr()
    code = run_command(["train", str(toy_store.path), str(run), "--method", "supervised", "--labeled", "2"])
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("ERROR SVX-C6  ")
    assert f"semivox resume {run}" in said
    assert len(said.splitlines()) == 1
    assert tree(run) == before


@pytest.mark.parametrize("kind", ["folder with a file", "file"])
def test_place_that_is_taken_by_something_else_is_refused(kind: str, toy_store, tmp_path: Path) -> None:
    place = tmp_path / "run"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine").write_text("mine")
    with pytest.raises(UsageError, match="already exists") as caught:
        train(toy_store, place, "supervised")
    assert caught.value.exit_code == 2
    assert (place if kind == "file" else place / "mine").read_text() == "mine"


def test_empty_folder_is_taken(toy_store, finished_run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert weights_of(train(toy_store, tmp_path / "run", "supervised")) == weights_of(finished_run("supervised"))


def test_run_made_by_another_process_in_the_same_moment_is_refused(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(toy_store, "supervised")
    create_run(tmp_path / "run", config, toy_store.plan, {})
    from semivox.engine import rundir

    answers = iter([None])  # the first look finds nothing, the other process is quicker then
    look = rundir.refuse_existing
    monkeypatch.setattr(rundir, "refuse_existing", lambda path: next(answers, path) and look(path))
    with pytest.raises(UsageError, match="already exists"):
        create_run(tmp_path / "run", config, toy_store.plan, {})


@pytest.mark.parametrize(("changes", "subject"), [
    ({"network.name": "vnett"}, "network.name"),
    ({"network.decoder": "bilinear"}, "network.decoder"),
    ({"data.patch_size": [17, 16, 16]}, "patch_size"),
    ({"data.labeled": 6, "data.unlabeled_per_batch": 1, "data.validation": 9}, "validation"),
    ({"data.labeled": 60}, "labeled"),
    ({"network.options": {"kernels": 3}}, "network.options.kernels"),
])
def test_what_cannot_work_is_refused_before_anything_is_written(
    changes: dict, subject: str, toy_store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        train(toy_store, tmp_path / "run", "mean_teacher", changes)
    assert caught.value.exit_code == 2
    assert subject in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_place_that_cannot_be_written_is_a_lack_of_the_machine(toy_store, tmp_path: Path) -> None:
    from semivox.errors import SemivoxError

    (tmp_path / "file").write_text("")
    with pytest.raises(SemivoxError) as caught:
        train(toy_store, tmp_path / "file" / "run", "supervised")
    assert caught.value.exit_code in (2, 5)
    assert caught.value.code != "BUG"


# --- resuming --------------------------------------------------------------------------------------------------


def test_what_a_killed_process_had_begun_is_deleted_and_nothing_else(toy_store, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    train_and_stop(toy_store, run.path, "supervised", after=3)
    run.weights_steps.mkdir()
    begun = [run.path / ".tmp-1-weights_best_validation.safetensors", run.path / ".tmp-1-progress.png",
             run.weights_steps / ".tmp-1-step_000002.safetensors"]
    others = [run.path / ".tmp-1-report.html", run.path / "notes.txt", run.weights_steps / "step_000002.safetensors"]
    for path in (*begun, *others):
        path.write_text("")
    resume_run(run.path)
    assert [path for path in (*begun, *others) if path.exists()] == others


@pytest.mark.parametrize("made", ["missing", "empty", "file"])
def test_what_is_no_run_is_refused(made: str, tmp_path: Path) -> None:
    place = tmp_path / "run"
    if made == "empty":
        place.mkdir()
    elif made == "file":
        place.write_text("")
    with pytest.raises(UsageError, match="not a run directory"):
        resume_run(place)


def test_run_without_a_checkpoint_exits_7(toy_store, finished_run, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run("supervised").path, run)
    (run / "weights.safetensors").unlink()
    shutil.rmtree(run / "checkpoints")
    capsys.readouterr()
    assert run_command(["resume", str(run)]) == 7
    assert capsys.readouterr().err.startswith("ERROR SVX-K3  ")
    (run / "environment.json").unlink()  # killed before its first checkpoint
    assert run_command(["resume", str(run)]) == 7
    assert not (run / "weights.safetensors").exists()


def test_finished_run_exits_0_and_says_so(finished_run, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run("supervised").path
    before = tree(run)
    assert run_command(["resume", str(run)]) == 0
    assert "already finished" in capsys.readouterr().out
    assert tree(run) == before


def test_changed_store_exits_7(toy_store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    shutil.copytree(toy_store.path, store)
    train_and_stop(Store.open(store), run, "supervised", after=3)
    manifest = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**manifest, "digest": "0" * 64}))
    capsys.readouterr()
    assert run_command(["resume", str(run)]) == 7
    assert capsys.readouterr().err.startswith("ERROR SVX-K9  ")


def test_moved_run_and_moved_store_go_on(toy_store, finished_run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(toy_store.path, store)
    train_and_stop(Store.open(store), tmp_path / "run", "mean_teacher", after=3)
    (tmp_path / "elsewhere").mkdir()
    run = (tmp_path / "run").rename(tmp_path / "elsewhere" / "renamed")
    store.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="the store of this run is not there.*--store"):
        resume_run(run)
    assert resume_run(run, tmp_path / "moved") is True
    assert weights_of(run) == weights_of(finished_run("mean_teacher"))


def test_damaged_configuration_of_a_run_is_named(finished_run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run("supervised").path, run)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"momentum"', '"momentun"'))
    with pytest.raises(UsageError, match=r"optimizer\.momentun.*did you mean 'momentum'"):
        load_deployed(run)
    (run / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="an object is needed"):
        load_deployed(run)
    (run / "config.json").write_text(text[:50])
    with pytest.raises(InputError, match="not valid JSON"):
        load_deployed(run)


def test_unfinished_run_is_not_deployed(toy_store, tmp_path: Path) -> None:
    train_and_stop(toy_store, tmp_path / "run", "supervised", after=3)
    with pytest.raises(CheckpointError, match="not finished") as caught:
        load_deployed(tmp_path / "run")
    assert caught.value.exit_code == 7


# --- signals and locks -----------------------------------------------------------------------------------------


LONG = {"engine.steps": 60, "engine.save_every": 20, "data.workers": 1}


def test_busy_run_is_left_alone_and_a_signal_stops_it_so_that_it_can_be_resumed(toy_store, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    first = start(train_command(toy_store.path, run, "supervised", LONG), log)
    try:
        wait_until(lambda: RunDirectory(run).metrics.exists() and rows_of(run), first)
        os.kill(first.pid, signal.SIGSTOP)  # it keeps its lock, however long the second takes to start
        second = tmp_path / "second"
        assert finish(command("resume", run), second) == 6
        assert f"ERROR SVX-T22  {run}: another process works on this run (pid {first.pid})" in second.read_text()
        os.kill(first.pid, signal.SIGCONT)
        os.kill(first.pid, signal.SIGTERM)
        assert first.wait(120) == 75
    finally:
        first.kill()
    said = log.read_text()
    assert "STOPPED SVX-T15  " in said
    assert "SIGTERM" in said
    assert f"semivox resume {run}" in said
    assert "Traceback" not in said
    assert generations_of(run)[-1] == rows_of(run)[-1]["step"] < 60
    assert not (run / "weights.safetensors").exists()
    resume_run(run)
    whole = train(toy_store, tmp_path / "whole", "supervised", LONG)
    assert weights_of(run) == weights_of(whole)
    assert untimed_rows_of(run) == untimed_rows_of(whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signal_to_the_whole_process_group_stops_a_run_so_that_it_can_be_resumed(
    number: signal.Signals, toy_store, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(train_command(toy_store.path, run, "supervised", LONG), log)
    try:
        wait_until(lambda: RunDirectory(run).metrics.exists() and len(rows_of(run)) > 2, process)
        os.killpg(process.pid, number)  # Ctrl-C and schedulers reach the loader's workers too
        assert process.wait(120) == 75, log.read_text()
    finally:
        process.kill()
    assert f"stopped by {number.name}" in log.read_text()
    assert "Traceback" not in log.read_text()
    resume_run(run)
    assert weights_of(run) == weights_of(train(toy_store, tmp_path / "whole", "supervised", LONG))


def test_second_interrupt_stops_at_once_and_signal_handlers_are_given_back() -> None:
    from semivox.engine.stopping import stop_on_signals

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.signal_name == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)  # after another signal, the first Ctrl-C is still the first
        assert stop.signal_name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before
