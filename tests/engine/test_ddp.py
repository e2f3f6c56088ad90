"""Two processes on one machine (gloo): started by torchrun, and by ``--devices 2``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from run_material import (
    command,
    finish,
    generations_of,
    rows_of,
    start,
    tiny_config,
    train_command,
    untimed_rows_of,
    wait_until,
    weights_of,
)

from semivox.config import EngineConfig
from semivox.engine.build import as_started
from semivox.engine.train import resume_run
from semivox.errors import CheckpointError, UsageError
from semivox.methods import METHODS

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
CHANGES = {"engine.steps": 5, "data.unlabeled_per_batch": 1}


@pytest.fixture(scope="module")
def on_two_ranks(toy_store, tmp_path_factory: pytest.TempPathFactory):
    """``on_two_ranks(method)`` -> the run that torchrun trained, and what each rank saw."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = [*TORCHRUN, HERE / "ranks.py", toy_store.path, folder, *METHODS]
    code = finish([str(part) for part in arguments], folder / "log")
    assert code == 0, (folder / "log").read_text()

    def get(method: str):
        ranks = [json.loads((folder / f"{method}-{rank}.json").read_text()) for rank in (0, 1)]
        return folder / method, ranks

    return get


@pytest.mark.parametrize("method", METHODS)
def test_ranks_hold_equal_parameters_after_every_step(method: str, on_two_ranks) -> None:
    _, (first, second) = on_two_ranks(method)
    assert (first["rank"], second["rank"]) == (0, 1)
    assert (first["world_size"], second["world_size"]) == (2, 2)
    assert len(first["parameters"]) == 6
    assert first["parameters"] == second["parameters"]
    assert len(set(first["parameters"])) == 6  # and they move


def test_each_rank_draws_as_many_samples_as_configured_and_other_ones(on_two_ranks) -> None:
    run, ranks = on_two_ranks("mean_teacher")
    split = json.loads((run / "run.json").read_text())["split"]
    for rank in ranks:
        assert [batch["labeled"] for batch in rank["batches"]] == [2] * 5
        assert [batch["images"] for batch in rank["batches"]] == [3] * 5
        for batch in rank["batches"]:
            assert all(case < len(split["labeled"]) for case in batch["case"][:2])
            assert all(case >= len(split["labeled"]) for case in batch["case"][2:])
    contents = [{batch["content"] for batch in rank["batches"]} for rank in ranks]
    assert len(contents[0] | contents[1]) == 10
    unlabeled = [case for step in range(5) for rank in ranks for case in rank["batches"][step]["case"][2:]]
    assert len(set(unlabeled[: len(split["unlabeled"])])) == len(split["unlabeled"])  # no case twice before all once
    assert not set(ranks[0]["seeds"]) & set(ranks[1]["seeds"])
    assert {row["terms"].keys() >= {"supervised", "consistency"} for row in rows_of(run)} == {True}
    assert [row["step"] for row in rows_of(run)] == [1, 2, 3, 4, 5]


def test_torchrun_numbers_are_recorded_and_devices_alone_gives_the_same_weights(
    on_two_ranks, toy_store, tmp_path: Path
) -> None:
    by_torchrun, _ = on_two_ranks("mean_teacher")
    engine = json.loads((by_torchrun / "config.json").read_text())["engine"]
    assert (engine["devices"], engine["nodes"]) == (2, 1)
    assert json.loads((by_torchrun / "environment.json").read_text())["world_size"] == 2

    run, log = tmp_path / "run", tmp_path / "log"
    arguments = train_command(toy_store.path, run, "mean_teacher", {**CHANGES, "engine.devices": 2})
    assert finish(arguments, log) == 0, log.read_text()
    assert weights_of(run) == weights_of(by_torchrun)
    assert untimed_rows_of(run) == untimed_rows_of(by_torchrun)
    assert log.read_text().count("finished: ") == 1
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_stopped_run_of_two_ranks_is_resumed_to_the_same_weights(toy_store, tmp_path: Path) -> None:
    changes = {"engine.steps": 60, "engine.save_every": 20, "engine.devices": 2, "data.workers": 1}
    whole, run, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    assert finish(train_command(toy_store.path, whole, "mean_teacher", changes), log) == 0, log.read_text()
    process = start(train_command(toy_store.path, run, "mean_teacher", changes), log)
    try:
        wait_until(lambda: (run / "metrics.jsonl").exists() and len(rows_of(run)) > 2, process)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(120) == 75
    finally:
        process.kill()
    assert log.read_text().count("STOPPED SVX-T15") == 1
    assert generations_of(run)[-1] == rows_of(run)[-1]["step"]
    assert finish(command("resume", run), log) == 0, log.read_text()
    assert weights_of(run) == weights_of(whole)
    assert untimed_rows_of(run) == untimed_rows_of(whole)


@pytest.mark.slow
def test_loss_that_is_not_finite_on_one_rank_stops_both_with_one_exit_code(toy_store, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    changes = {"engine.devices": 2, "method.fault": "rank 1", "method.fault_step": 3}
    assert finish(train_command(toy_store.path, run, "toy_methods:Staged", changes), log) == 8, log.read_text()
    said = log.read_text()
    assert "bad is not finite at step 3 (cases " in said
    assert generations_of(run)[-1] == 2
    assert "Traceback" not in said


def test_numbers_that_contradict_torchrun_are_refused(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert as_started(EngineConfig()) == EngineConfig()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert (as_started(EngineConfig()).devices, as_started(EngineConfig()).nodes) == (2, 3)
    assert as_started(EngineConfig(devices=2, nodes=3)) == EngineConfig(devices=2, nodes=3)
    with pytest.raises(UsageError, match="4 on each of 1 nodes, torchrun started 2 on each of 3"):
        as_started(EngineConfig(devices=4))


def test_resuming_with_another_number_of_processes_is_refused(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from run_material import train_and_stop

    train_and_stop(toy_store, tmp_path / "run", "supervised", after=3)
    assert tiny_config(toy_store, "supervised").engine.devices == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CheckpointError, match="the run has 1 processes") as caught:
        resume_run(tmp_path / "run")
    assert caught.value.exit_code == 7
