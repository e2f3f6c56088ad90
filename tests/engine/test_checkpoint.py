from __future__ import annotations

import itertools
import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from run_material import generations_of, tiny_config, train_and_stop, weights_of
from safetensors.torch import load_file, save_file
from torch import nn

from semivox.config import OptimizerConfig
from semivox.engine import checkpoint, train
from semivox.engine.build import build_method
from semivox.engine.checkpoint import Snapshot, damage, generations, load_into, load_latest, save_checkpoint
from semivox.engine.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors
from semivox.engine.train import resume_run
from semivox.errors import CheckpointError
from semivox.methods import METHODS
from semivox.seeding import numpy_generator


def snapshot(step: int) -> Snapshot:
    values = torch.arange(step, step + 24, dtype=torch.float32).view(2, 3, 4)
    return Snapshot({"method": {"w": values, "count": torch.tensor(step)}, "optimizer-main": {}}, {"step": step})


def tensors_equal(first: Snapshot, second: Snapshot) -> bool:
    if first.tensors.keys() != second.tensors.keys() or first.state != second.state:
        return False
    pairs = [(first.tensors[group], second.tensors[group]) for group in first.tensors]
    return all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in pairs)


# --- writing ---------------------------------------------------------------------------------------------------


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, snapshot(7))
    found, passed_over = load_latest(tmp_path)
    assert tensors_equal(found, snapshot(7))
    assert passed_over == []


def test_last_two_generations_are_kept_and_nothing_else_that_was_written_here(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-00000005").mkdir()  # left behind by a kill
    (tmp_path / "00000001").mkdir()  # its deletion was interrupted
    (tmp_path / "notes").mkdir()  # not ours
    for step in (2, 4, 6, 8):
        save_checkpoint(tmp_path, step, snapshot(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000006", "00000008", "notes"]


def test_generation_passed_over_as_damaged_does_not_take_the_place_of_a_good_one(tmp_path: Path) -> None:
    for step in (2, 9):
        save_checkpoint(tmp_path, step, snapshot(step))
    (tmp_path / "00000009" / "state.json").unlink()
    assert load_latest(tmp_path)[0].state == {"step": 2}
    save_checkpoint(tmp_path, 4, snapshot(4))
    assert [path.name for path in generations(tmp_path)] == ["00000002", "00000004"]


def test_manifest_is_written_last_and_the_folder_named_after_all_files_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from semivox import fsio

    events = []
    originals = {"fsync": os.fsync, "rename": os.rename, "replace": os.replace}

    def record(name: str):
        def call(*arguments):
            target = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else str(arguments[-1])
            events.append((name, Path(target).name))
            return originals[name](*arguments)

        return call

    for name in originals:
        monkeypatch.setattr(fsio.os, name, record(name))
    save_checkpoint(tmp_path / "checkpoints", 3, snapshot(3))
    named = events.index(("rename", "00000003"))
    written = [name for kind, name in events if kind == "replace"]
    assert written == ["state.json", "MANIFEST.json"]
    for file in ("MANIFEST.json", "method.safetensors", "optimizer-main.safetensors", "state.json"):
        assert ("fsync", file) in events[:named]
    manifest = events.index(("replace", "MANIFEST.json"))
    assert manifest < named
    assert ("fsync", "checkpoints") in events[named:]


@pytest.mark.parametrize("call", range(1, 30))
def test_failure_of_any_call_while_saving_leaves_the_earlier_generation(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox import fsio

    save_checkpoint(tmp_path, 2, snapshot(2))
    count = itertools.count(1)

    def failing(original):
        def attempt(*arguments, **keywords):
            if next(count) == call:
                raise OSError(28, "No space left on device")
            return original(*arguments, **keywords)

        return attempt

    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(fsio.os, name, failing(getattr(fsio.os, name)))
    monkeypatch.setattr(checkpoint, "save_file", failing(save_file))
    with suppress(OSError):
        save_checkpoint(tmp_path, 4, snapshot(4))
    calls = next(count) - 1
    monkeypatch.undo()
    found, _ = load_latest(tmp_path)
    assert found.state["step"] == 4 or calls == call  # nothing failed, or it was the last call
    assert tensors_equal(found, snapshot(found.state["step"]))
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_checkpoint_that_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "damage", lambda generation: "method.safetensors has another checksum")
    with pytest.raises(CheckpointError, match="does not read back"):
        save_checkpoint(tmp_path, 2, snapshot(2))


def test_good_generation_of_the_same_step_is_not_written_again(tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path, 2, snapshot(2))
    inode = (first / "state.json").stat().st_ino
    assert save_checkpoint(tmp_path, 2, snapshot(2)) == first
    assert (first / "state.json").stat().st_ino == inode
    (first / "state.json").write_text("{}")
    save_checkpoint(tmp_path, 2, snapshot(2))
    assert tensors_equal(load_latest(tmp_path)[0], snapshot(2))


# --- damage ----------------------------------------------------------------------------------------------------

FILES = ["method.safetensors", "optimizer-main.safetensors", "state.json", "MANIFEST.json"]


@pytest.fixture
def two_generations(tmp_path: Path) -> Path:
    for step in (2, 4):
        save_checkpoint(tmp_path, step, snapshot(step))
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_and_every_flipped_bit_is_noticed(name: str, two_generations: Path) -> None:
    file = two_generations / "00000004" / name
    whole = file.read_bytes()
    rng = numpy_generator(0, "damage", name)
    lengths = {0, len(whole) - 1, *rng.integers(0, len(whole), 40).tolist()}
    for length in lengths:
        if whole[:length].strip() == whole.strip():
            continue  # only the line break at the end is gone
        file.write_bytes(whole[:length])
        assert damage(file.parent), f"truncated to {length} of {len(whole)} bytes"
    for bit in rng.choice(8 * len(whole), min(200, 8 * len(whole)), replace=False).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert damage(file.parent), f"bit {bit % 8} of byte {bit // 8} flipped"
    file.write_bytes(whole)
    assert damage(file.parent) is None


@pytest.mark.parametrize("name", FILES[:-1])
def test_damaged_generation_is_passed_over_with_a_line_that_names_it(name: str, two_generations: Path) -> None:
    (two_generations / "00000004" / name).unlink()
    found, passed_over = load_latest(two_generations)
    assert tensors_equal(found, snapshot(2))
    assert len(passed_over) == 1
    assert "00000004" in passed_over[0]
    assert name in passed_over[0]


def test_folder_without_a_manifest_is_no_checkpoint(two_generations: Path) -> None:
    (two_generations / "00000004" / "MANIFEST.json").unlink()
    found, passed_over = load_latest(two_generations)
    assert found.state == {"step": 2}
    assert passed_over == []


def test_manifest_of_another_generation_or_version_is_noticed(two_generations: Path) -> None:
    shutil.copytree(two_generations / "00000004", two_generations / "00000005")
    assert "step 4" in damage(two_generations / "00000005")
    manifest = two_generations / "00000004" / "MANIFEST.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format": 2}))
    assert "format 2" in damage(manifest.parent)


def test_no_generation_left_is_exit_7(two_generations: Path) -> None:
    for generation in generations(two_generations):
        (generation / "method.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="2 damaged") as caught:
        load_latest(two_generations)
    assert caught.value.exit_code == 7
    with pytest.raises(CheckpointError, match="none") as caught:
        load_latest(two_generations / "elsewhere")
    assert caught.value.exit_code == 7


def test_run_falls_back_to_the_generation_before_says_so_and_ends_with_the_same_weights(
    toy_store, finished_run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train_and_stop(toy_store, run, "mean_teacher", after=5)
    assert generations_of(run) == [4, 5]
    file = run / "checkpoints" / "00000005" / "method.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    capfd.readouterr()
    assert resume_run(run) is True
    said = capfd.readouterr().err
    assert "WARNING SVX-K1  checkpoint 00000005 is damaged (method.safetensors has another checksum)" in said
    assert weights_of(run) == weights_of(finished_run("mean_teacher"))
    assert generations_of(run) == [4, 6]


# --- what is in it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_checkpoint_holds_all_state_of_method_and_optimizers(method: str, finished_run) -> None:
    run = finished_run(method)
    found, _ = load_latest(run.checkpoints)
    built = build_method(run.read_config(), run.read_plan(), 2)
    assert found.tensors["method"].keys() == built.state_dict().keys()
    for turn in built.turns:
        trained = [p for group in built.parameters_for(turn) for p in group["params"]]
        momenta = found.tensors[f"optimizer-{turn}"]
        assert momenta.keys() == {f"{index}.momentum_buffer" for index in range(len(trained))}
        assert all(momenta[f"{index}.momentum_buffer"].shape == p.shape for index, p in enumerate(trained))
    assert found.state["step"] == run.read_config().engine.steps
    assert {path.suffix for path in run.checkpoints.rglob("*.*") if path.is_file()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=["plain", "channels_last"])
def test_optimizer_goes_on_to_the_last_bit_from_its_tensors(name: str, layout: torch.memory_format,
                                                            tmp_path: Path) -> None:
    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 3))
        for parameter in network.parameters():
            if parameter.dim() == 5:
                parameter.data = parameter.data.to(memory_format=layout)
        groups = [{"params": network[0].parameters()}, {"params": network[1:].parameters(), "weight_decay": 0.0}]
        return network, build_optimizer(groups, OptimizerConfig(name=name))

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        optimizer.zero_grad()
        network(torch.randn(2, 2, 6, 6, 6)).square().mean().backward()
        optimizer.step()

    network, optimizer = build()
    for seed in (1, 2):
        step(network, optimizer, seed)
    file = tmp_path / "optimizer.safetensors"
    save_file({key: value.contiguous().clone() for key, value in optimizer_tensors(optimizer).items()}, file)
    other, restored = build()
    other.load_state_dict(network.state_dict())
    load_optimizer_tensors(restored, load_file(file))
    mine, theirs = optimizer_tensors(restored), optimizer_tensors(optimizer)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], value) and mine[key].dtype == value.dtype for key, value in theirs.items())
    for parameter in other.parameters():
        for value in restored.state[parameter].values():
            if value.dim() == 5:
                assert value.stride() == parameter.stride()
    for seed in (3, 4):
        step(network, optimizer, seed)
        step(other, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_weights_that_do_not_fit_are_refused_with_the_first_differences(toy_store) -> None:
    torch.manual_seed(0)
    narrow = build_method(tiny_config(toy_store, "supervised"), toy_store.plan, 2)
    wide = build_method(tiny_config(toy_store, "supervised", {"network.width": 8}), toy_store.plan, 2)
    before = {key: value.clone() for key, value in narrow.state_dict().items()}
    difference = r"weight has shape \(2, 8, 1, 1, 1\), expected \(2, 4, 1, 1, 1\)"
    with pytest.raises(CheckpointError, match=difference) as caught:
        load_into(narrow, wide.state_dict(), "checkpoint")
    assert caught.value.exit_code == 7
    assert caught.value.problem.count(";") == 4  # five differences
    with pytest.raises(CheckpointError, match="extra is unknown"):
        load_into(narrow, {**narrow.state_dict(), "extra": torch.zeros(1)}, "checkpoint")
    missing = dict(list(narrow.state_dict().items())[1:])
    with pytest.raises(CheckpointError, match="is missing"):
        load_into(narrow, missing, "checkpoint")
    assert all(torch.equal(value, before[key]) for key, value in narrow.state_dict().items())


@pytest.mark.parametrize("part", ["optimizer-main", "method", "window"])
def test_checkpoint_without_one_of_its_parts_is_refused(
    part: str, toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_and_stop(toy_store, tmp_path / "run", "supervised", after=3)
    whole, _ = load_latest(tmp_path / "run" / "checkpoints")
    (whole.state if part in whole.state else whole.tensors).pop(part)
    monkeypatch.setattr(train, "load_latest", lambda folder: (whole, []))
    with pytest.raises(CheckpointError, match=part) as caught:
        resume_run(tmp_path / "run")
    assert caught.value.exit_code == 7
    assert not (tmp_path / "run" / "weights.safetensors").exists()


# --- what is deployed ------------------------------------------------------------------------------------------


def test_pickled_weights_are_refused_without_being_read(tmp_path: Path, finished_run) -> None:
    from semivox.engine.deploy import load_deployed

    run = tmp_path / "run"
    shutil.copytree(finished_run("supervised").path, run)
    torch.save({"w": torch.zeros(2)}, run / "weights.safetensors")
    with pytest.raises(CheckpointError, match="not a complete safetensors file") as caught:
        load_deployed(run)
    assert caught.value.exit_code == 7


def test_deployed_weights_predict_as_the_trained_method_does(finished_run) -> None:
    from semivox.engine.deploy import load_deployed

    run = finished_run("mean_teacher")
    deployed = load_deployed(run.path)
    method = build_method(run.read_config(), run.read_plan(), 2)
    load_into(method, load_latest(run.checkpoints)[0].tensors["method"], "checkpoint")
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 16, 16, 16)).astype(np.float32))
    with torch.no_grad():
        assert torch.allclose(deployed.network(image), method.predictor().eval()(image), atol=1e-6)
    assert not deployed.network.training
    assert deployed.precision == "fp32"
