"""Files of deployed weights, by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from run_material import train
from safetensors.torch import load_file, save_file

from semivox.engine.deploy import available_weights, load_deployed
from semivox.engine.rundir import RunDirectory
from semivox.engine.weights import Best, best_of, file_of, read_weights, require_weights, weights_kept, write_weights
from semivox.errors import CheckpointError, UsageError

TENSORS = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


@pytest.fixture(scope="module")
def run(toy_store, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run that has kept everything; never change it."""
    changes = {"data.validation": 1, "engine.validate_every": 2, "engine.keep_weights_every": 2, "engine.steps": 4}
    return train(toy_store, tmp_path_factory.mktemp("kept") / "run", "supervised", changes)


def test_file_holds_the_tensors_and_the_note_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    empty = RunDirectory(tmp_path)
    assert best_of(empty) is None
    for best in (Best(7, 100 / 3), Best(8, None)):
        write_weights(empty.weights_best_validation, TENSORS, best._asdict())
        assert best_of(empty) == best
    before = empty.weights_best_validation.read_bytes()
    write_weights(empty.weights_best_validation, TENSORS, Best(8, None)._asdict())
    assert empty.weights_best_validation.read_bytes() == before
    assert all(torch.equal(value, TENSORS[name]) for name, value in read_weights(empty.weights_best_validation).items())
    assert [path.name for path in tmp_path.iterdir()] == ["weights_best_validation.safetensors"]


def test_names_are_sorted_by_number(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    for step in (2000, 500, 1_000_000):
        write_weights(folder.weights_of_step(step), TENSORS)
    (folder.weights_steps / ".tmp-1-step_000600.safetensors").touch()
    write_weights(folder.weights, TENSORS)
    assert weights_kept(folder) == ["last", "step_500", "step_2000", "step_1000000"]
    assert file_of(folder, "step_500").name == "step_000500.safetensors"
    assert file_of(folder, "step_000500") == file_of(folder, "step_500")


@pytest.mark.parametrize("name", ["best", "step_", "step_x", "step_-5", "500", "step_5.0", "../weights", "step_٣"])
def test_what_is_no_name_is_refused_before_the_run_is_looked_at(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="legal values: last, best_validation, and step_N") as caught:
        load_deployed(tmp_path / "nothing", name)
    assert repr(name) in str(caught.value)


def test_weights_that_are_not_there_are_told_with_those_that_are(run: RunDirectory, finished_run) -> None:
    with pytest.raises(UsageError, match="there is last, best_validation, step_2, step_4.  Fix: name one of these") as \
            caught:
        load_deployed(run.path, "step_3")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="best_validation is not in .*there is last.  Fix: .*--validation N"):
        require_weights(finished_run("supervised"), "best_validation")


def test_weights_of_each_name_are_loaded(run: RunDirectory) -> None:
    assert available_weights(run.path) == ["last", "best_validation", "step_2", "step_4"]
    loaded = {name: load_deployed(run.path, name) for name in available_weights(run.path)}
    best = best_of(run)
    assert best is not None
    assert {name: deployed.weights for name, deployed in loaded.items()} == {
        "last": "last", "best_validation": f"best_validation (step {best.step})", "step_2": "step_2",
        "step_4": "step_4"}
    for name, deployed in loaded.items():
        stored = load_file(file_of(run, name))
        assert all(torch.equal(value, stored[key]) for key, value in deployed.network.state_dict().items())
    first, last = loaded["step_2"].network.state_dict(), loaded["last"].network.state_dict()
    assert any(not torch.equal(first[key], last[key]) for key in last)


@pytest.mark.parametrize("kind", ["cut", "without a note"])
def test_damaged_file_exits_7(kind: str, run: RunDirectory, tmp_path: Path) -> None:
    damaged = RunDirectory(tmp_path / "run")
    shutil.copytree(run.path, damaged.path)
    file = damaged.weights_best_validation
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        save_file(load_file(file), file)
    with pytest.raises(CheckpointError, match="not a complete safetensors file") as caught:
        load_deployed(damaged.path, "best_validation")
    assert (caught.value.code, caught.value.exit_code) == ("K5", 7)
