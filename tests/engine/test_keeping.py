"""Weights kept beside the last ones: the best on the validation cases, and those of every so many steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_material import (
    finish,
    generations_of,
    rows_of,
    tiny_config,
    train,
    train_and_stop,
    train_command,
    untimed_rows_of,
    weights_of,
)
from safetensors.torch import load_file

from semivox.engine import loop
from semivox.engine import train as engine_train
from semivox.engine.build import build_method
from semivox.engine.checkpoint import load_into, load_latest
from semivox.engine.rundir import RunDirectory
from semivox.engine.train import resume_run
from semivox.engine.validation import Validator
from semivox.engine.weights import Best, best_of, weights_kept
from semivox.errors import CheckpointError, DivergedError, StoppedError
from semivox.fsio import sha256_file

PLAIN = "toy_methods:Averaging"
CHANGES = {"data.validation": 1, "engine.validate_every": 1, "engine.keep_weights_every": 1}
"""Weights of each step are kept, to compare the best ones with."""


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float | None]], None]:
    """``scored({1: 50.0, 2: 60.0})``: the validation Dice of the runs that follow, by step."""
    now: dict[str, Any] = {}
    step = loop.train_step

    def note_and_step(training: loop.Training, *rest: Any) -> None:
        now["training"] = training
        step(training, *rest)

    monkeypatch.setattr(loop, "train_step", note_and_step)
    monkeypatch.setattr(Validator, "score", lambda self, *modules: {
        "dice": now["scores"][now["training"].step], "dice_per_case": {}})
    return lambda scores: now.update(scores=scores)


def stop_resumed(path: Path, *, after: int) -> None:
    """Resume a run and stop it again."""
    step = loop.train_step

    def step_then_ask(training: loop.Training, *arguments: Any) -> None:
        step(training, *arguments)
        if training.step + 1 == after:
            training.stop.signal_name = "SIGTERM"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", step_then_ask)
        with pytest.raises(StoppedError):
            resume_run(path)


def kept_files(run: RunDirectory) -> dict[str, str]:
    """Digest of every file of weights."""
    files = [*run.path.glob("*.safetensors"), *run.weights_steps.iterdir()]
    return {file.relative_to(run.path).as_posix(): sha256_file(file) for file in files}


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- best on validation ----------------------------------------------------------------------------------------


def test_best_step_of_the_last_stage_is_kept_and_the_last_step_is_deployed(toy_store, tmp_path: Path, scored) -> None:
    scored({1: 99.0, 2: 99.0, 3: 50.0, 4: 70.0, 5: 70.0})  # the first stage ends with step 2
    run = train(toy_store, tmp_path / "run", "toy_methods:Staged", {**CHANGES, "engine.steps": 5})
    assert best_of(run) == Best(4, 70.0)  # of equal ones the earlier
    assert same_weights(run.weights_best_validation, run.weights_of_step(4))
    assert not same_weights(run.weights_best_validation, run.weights)
    assert same_weights(run.weights, run.weights_of_step(5))


@pytest.mark.parametrize(("scores", "expected"), [
    ({1: None, 2: 0.0, 3: None}, Best(2, 0.0)), ({1: None, 2: None, 3: None}, Best(1, None)),
    ({1: 0.0, 2: None, 3: 0.0}, Best(1, 0.0)),
])
def test_dice_that_is_not_defined_is_below_all_others(
    scores: dict[int, float | None], expected: Best, toy_store, tmp_path: Path, scored
) -> None:
    scored(scores)
    assert best_of(train(toy_store, tmp_path / "run", PLAIN, {**CHANGES, "engine.steps": 3})) == expected


def test_run_without_validation_cases_keeps_the_last_weights_alone(finished_run) -> None:
    run = finished_run("supervised")
    assert weights_kept(run) == ["last"]
    assert not run.weights_steps.exists()
    snapshot, _ = load_latest(run.checkpoints)
    assert "best_validation" not in snapshot.tensors


def test_real_validation_decides_by_the_mean_that_it_logs(toy_store, tmp_path: Path) -> None:
    changes = {**CHANGES, "optimizer.lr": 0.1}
    run = train(toy_store, tmp_path / "run", "supervised", changes)
    found = {row["step"]: row["validation"]["dice"] for row in rows_of(run) if "validation" in row}
    assert best_of(run) == max((Best(*item) for item in found.items()), key=lambda best: (best.dice, -best.step))
    train_and_stop(toy_store, tmp_path / "cut", "supervised", after=5, changes=changes)
    resume_run(tmp_path / "cut")
    assert kept_files(RunDirectory(tmp_path / "cut")) == kept_files(run)
    assert untimed_rows_of(tmp_path / "cut") == untimed_rows_of(run)


# --- stops, kills and what is not finite -----------------------------------------------------------------------


@pytest.mark.parametrize("after", [2, 3, 4, 5])
def test_stopped_and_resumed_run_keeps_the_same(after: int, toy_store, tmp_path: Path, scored) -> None:
    scored({1: 10.0, 2: 20.0, 3: 80.0, 4: 30.0, 5: 80.0, 6: 40.0})
    whole = train(toy_store, tmp_path / "whole", PLAIN, CHANGES)
    train_and_stop(toy_store, tmp_path / "cut", PLAIN, after=after, changes=CHANGES)
    (tmp_path / "cut" / "weights_best_validation.safetensors").unlink()  # the checkpoint holds it
    resume_run(tmp_path / "cut")
    assert best_of(whole) == Best(3, 80.0)
    assert len(kept_files(whole)) == 2 + 6
    assert kept_files(RunDirectory(tmp_path / "cut")) == kept_files(whole)


def test_steps_that_a_kill_undid_leave_nothing_behind(toy_store, tmp_path: Path, scored) -> None:
    scored({1: 10.0, 2: 60.0, 3: 10.0, 4: 80.0, 5: 10.0, 6: 10.0})
    run = RunDirectory(tmp_path / "run")
    train_and_stop(toy_store, run.path, PLAIN, after=4, changes=CHANGES)
    assert best_of(run) == Best(4, 80.0)
    assert generations_of(run) == [2, 4]
    shutil.rmtree(run.checkpoints / "00000004")
    scored({3: 10.0, 4: 50.0, 5: 10.0, 6: 10.0})  # as on a GPU, where a step is not repeated bit for bit
    resume_run(run.path)
    assert best_of(run) == Best(2, 60.0)
    assert same_weights(run.weights_best_validation, run.weights_of_step(2))


def test_resumed_run_has_no_best_weights_before_its_first_validation(toy_store, tmp_path: Path, scored) -> None:
    scored({4: 80.0, 6: 10.0})
    changes = {**CHANGES, "engine.validate_every": 4}
    run = RunDirectory(tmp_path / "run")
    train_and_stop(toy_store, run.path, PLAIN, after=4, changes=changes)
    shutil.rmtree(run.checkpoints / "00000004")
    assert run.weights_best_validation.exists()
    stop_resumed(run.path, after=3)
    assert not run.weights_best_validation.exists()


def test_weights_that_are_not_finite_are_never_kept(toy_store, tmp_path: Path, scored) -> None:
    scored({1: 10.0, 2: 20.0, 3: 30.0, 4: 20.0, 5: 99.0})
    for name, validation in (("validated", 1), ("not validated", 0)):
        run = RunDirectory(tmp_path / name)
        changes = {**CHANGES, "data.validation": validation, "method.fault": "gradient", "method.fault_step": 4,
                   "engine.save_every": 100}
        with pytest.raises(DivergedError, match="not finite after step 5"):
            train(toy_store, run.path, "toy_methods:Staged", changes)
        assert weights_kept(run) == ["best_validation"] * validation + ["step_1", "step_2", "step_3", "step_4"]
        assert best_of(run) == (Best(3, 30.0) if validation else None)
        assert all(torch.isfinite(value).all() for value in load_file(run.weights_of_step(4)).values())


def test_checkpoint_that_lacks_the_best_weights_is_refused(
    toy_store, tmp_path: Path, scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(dict.fromkeys(range(1, 7), 50.0))
    train_and_stop(toy_store, tmp_path / "run", PLAIN, after=3, changes=CHANGES)
    whole, _ = load_latest(tmp_path / "run" / "checkpoints")
    del whole.tensors["best_validation"]
    monkeypatch.setattr(engine_train, "load_latest", lambda folder: (whole, []))
    with pytest.raises(CheckpointError, match="best_validation"):
        resume_run(tmp_path / "run")


# --- every so many steps ---------------------------------------------------------------------------------------


def test_weights_on_the_way_are_those_of_their_steps_and_change_nothing(
    toy_store, finished_run, tmp_path: Path
) -> None:
    run = train(toy_store, tmp_path / "run", "supervised", {"engine.keep_weights_every": 4})
    assert weights_kept(run) == ["last", "step_4"]
    assert [file.name for file in run.weights_steps.iterdir()] == ["step_000004.safetensors"]
    method = build_method(run.read_config(), run.read_plan(), 2)
    load_into(method, load_file(run.checkpoints / "00000004" / "method.safetensors"), "checkpoint")
    expected, kept = method.predictor().state_dict(), load_file(run.weights_of_step(4))
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], value) for name, value in expected.items())
    assert not same_weights(run.weights_of_step(4), run.weights)
    assert weights_of(run) == weights_of(finished_run("supervised"))
    assert untimed_rows_of(run) == untimed_rows_of(finished_run("supervised"))


def test_of_two_processes_the_first_alone_keeps_weights(toy_store, tmp_path: Path, monkeypatch) -> None:
    log, asked = tmp_path / "log", tmp_path / "asked"
    monkeypatch.setenv("ASKED_FOR_PREDICTOR", str(asked))
    changes = {**CHANGES, "engine.steps": 2, "engine.devices": 2}
    arguments = train_command(toy_store.path, tmp_path / "run", "toy_methods:Telling", changes)
    assert finish(arguments, log) == 0, log.read_text()
    assert weights_kept(RunDirectory(tmp_path / "run")) == ["last", "best_validation", "step_1", "step_2"]
    assert (tmp_path / "run" / "progress.png").is_file()
    told = asked.read_text().split()
    assert set(told) == {"0"}


def test_keeping_is_off_by_default(toy_store) -> None:
    assert tiny_config(toy_store, "supervised").engine.keep_weights_every == 0
