from __future__ import annotations

from pathlib import Path

import pytest
from run_material import (
    generations_of,
    rows_of,
    tiny_config,
    train,
    train_and_stop,
    untimed_rows_of,
    weights_of,
)

from semivox.engine.train import resume_run, start_run
from semivox.methods import METHODS


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_run_equals_an_uninterrupted_one(
    method: str, workers: int, toy_store, finished_run, tmp_path: Path
) -> None:
    train_and_stop(toy_store, tmp_path / "run", method, after=3, changes={"data.workers": workers})
    assert generations_of(tmp_path / "run")[-1] == 3
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert resume_run(tmp_path / "run") is True
    whole = finished_run(method)
    assert weights_of(tmp_path / "run") == weights_of(whole)
    assert untimed_rows_of(tmp_path / "run") == untimed_rows_of(whole)


@pytest.mark.parametrize("method", METHODS)
def test_same_configuration_and_data_give_byte_identical_weights(
    method: str, toy_store, finished_run, tmp_path: Path
) -> None:
    again = train(toy_store, tmp_path / "run", method)
    assert weights_of(again) == weights_of(finished_run(method))
    assert untimed_rows_of(again) == untimed_rows_of(finished_run(method))


def test_another_seed_gives_other_weights(toy_store, finished_run, tmp_path: Path) -> None:
    other = train(toy_store, tmp_path / "run", "supervised", {"seed": 1})
    assert weights_of(other) != weights_of(finished_run("supervised"))


def test_resolved_configuration_of_a_run_gives_the_same_run_again(toy_store, finished_run, tmp_path: Path) -> None:
    first = finished_run("mean_teacher")
    again = start_run(toy_store, tmp_path / "run", first.read_config())
    assert weights_of(again) == weights_of(first)
    assert again.read_config() == first.read_config()


def test_row_that_spans_a_stop_is_that_of_an_uninterrupted_run(toy_store, tmp_path: Path) -> None:
    changes = {"engine.log_every": 4, "engine.steps": 5}
    whole = train(toy_store, tmp_path / "whole", "mean_teacher", changes)
    train_and_stop(toy_store, tmp_path / "run", "mean_teacher", after=3, changes=changes)
    resume_run(tmp_path / "run")
    assert [row["step"] for row in rows_of(whole)] == [4, 5]
    assert untimed_rows_of(tmp_path / "run") == untimed_rows_of(whole)


def test_rows_survive_stops_between_which_none_is_written(toy_store, tmp_path: Path) -> None:
    changes = {"engine.log_every": 3, "engine.steps": 8}
    whole = train(toy_store, tmp_path / "whole", "supervised", changes)
    run = tmp_path / "run"
    train_and_stop(toy_store, run, "supervised", after=4, changes=changes)
    with (run / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 6, "loss": 99.0}\n')  # as if it had been killed after a row that no checkpoint knows
    from semivox.engine import loop

    step, seen = loop.train_step, []

    def stop_at_once(training: loop.Training, *arguments: object) -> None:
        step(training, *arguments)  # type: ignore[arg-type]
        seen.append(training.step)
        training.stop.signal_name = "SIGTERM"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", stop_at_once)
        with pytest.raises(loop.StoppedError):
            resume_run(run)
    assert seen == [4]
    resume_run(run)
    assert untimed_rows_of(run) == untimed_rows_of(whole)
    assert weights_of(run) == weights_of(whole)


def test_run_that_was_stopped_after_its_last_checkpoint_only_writes_its_weights(
    toy_store, finished_run, tmp_path: Path
) -> None:
    run = train(toy_store, tmp_path / "run", "supervised")
    run.weights.unlink()  # killed between the last checkpoint and the weights
    assert resume_run(run.path) is True
    assert weights_of(run) == weights_of(finished_run("supervised"))
    assert untimed_rows_of(run) == untimed_rows_of(finished_run("supervised"))


def test_resuming_a_finished_run_touches_nothing(toy_store, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "supervised")
    before = {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))}
    assert resume_run(run.path) is False
    assert {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))} == before


def test_resumed_run_uses_the_recorded_number_of_threads(toy_store, finished_run, tmp_path: Path) -> None:
    import torch

    changes = {"engine.threads": 0}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        train_and_stop(toy_store, tmp_path / "run", "supervised", after=3, changes=changes)
        torch.set_num_threads(2)
        resume_run(tmp_path / "run")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert weights_of(tmp_path / "run") == weights_of(finished_run("supervised"))


def test_tiny_configuration_is_what_these_tests_say(toy_store) -> None:
    config = tiny_config(toy_store, "mean_teacher")
    assert (config.engine.steps, config.engine.save_every, config.data.workers) == (6, 2, 0)
