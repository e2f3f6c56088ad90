from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy_methods
from run_material import generations_of, rows_of, tiny_config, train, train_and_stop, untimed_rows_of, weights_of
from safetensors.torch import load_file

from semivox.config import EngineConfig, OptimizerConfig, StageConfig
from semivox.data.sampling import Streams, draws
from semivox.data.splits import choose_split
from semivox.engine import train as engine_train
from semivox.engine.checkpoint import load_latest
from semivox.engine.logs import LOSS
from semivox.engine.loop import Training, progress_at, take_turn
from semivox.engine.optim import build_optimizer, learning_rate, set_learning_rate
from semivox.engine.rundir import RunDirectory, create_run
from semivox.engine.stopping import StopRequest
from semivox.engine.train import assemble, launch, resume_run
from semivox.errors import DivergedError
from semivox.types import Batch, Progress

PLAIN_SGD = {"optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0, "optimizer.schedule": "constant"}


def assembled(store, path: Path, method: str, changes: dict[str, Any] | None = None) -> Training:
    config = tiny_config(store, method, changes)
    split = choose_split(store, labeled=config.data.labeled)
    run = create_run(path, config, store.plan, {})
    return assemble(launch(config), run, store, split=split, stop=StopRequest(), snapshot=None)


def noise_batch(count: int, *, scale: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = scale * torch.randn((count, 1, 8, 8, 8), generator=generator)
    return Batch(image, torch.zeros((count, 8, 8, 8), dtype=torch.int64), torch.arange(count))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(engine_train, "reserve_memory", lambda *_: "not asked")  # it calls the method, too
    toy_methods.Staged.told.clear()
    return toy_methods.Staged.told


# --- stages ----------------------------------------------------------------------------------------------------

FIRST = [("first", 0, 2, 0, 5), ("first", 1, 2, 1, 5)]
SECOND = [("second", 0, 3, 2, 5), ("second", 1, 3, 3, 5), ("second", 2, 3, 4, 5)]


def test_stages_follow_each_other_and_each_step_is_told_where_the_run_stands(
    toy_store, tmp_path: Path, told: list[Any]
) -> None:
    run = train(toy_store, tmp_path / "run", "toy_methods:Staged", {"engine.steps": 5})
    assert [tuple(entry[2]) for entry in told if entry[0] == "forward"] == FIRST + SECOND
    assert [entry[1] for entry in told if entry[0] == "forward"] == ["main"] * 5
    after = [(entry[0], tuple(entry[1]) if entry[0] == "after_step" else entry[1]) for entry in told
             if entry[0] != "forward"]
    steps = [("after_step", progress) for progress in FIRST + SECOND]
    assert after == [*steps[:2], ("after_stage", "first"), *steps[2:], ("after_stage", "second")]
    assert not any(entry[2] for entry in told if entry[0] == "after_step")  # without a graph
    assert [row["stage"] for row in rows_of(run)] == ["first"] * 2 + ["second"] * 3
    expected = [0.01 * (1 - step / total) ** 0.9 for _, step, total, *_ in FIRST + SECOND]
    assert [row["lr"] for row in rows_of(run)] == pytest.approx(expected)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_stage_ends_once_wherever_a_run_is_stopped(after: int, toy_store, tmp_path: Path, told: list[Any]) -> None:
    changes = {"engine.steps": 5}
    train_and_stop(toy_store, tmp_path / "run", "toy_methods:Staged", after=after, changes=changes)
    resume_run(tmp_path / "run")
    assert [entry[1] for entry in told if entry[0] == "after_stage"] == ["first", "second"]
    assert [tuple(entry[2]) for entry in told if entry[0] == "forward"] == FIRST + SECOND


def test_step_beyond_the_run_has_no_place(toy_store) -> None:
    config = tiny_config(toy_store, "toy_methods:Staged", {"engine.steps": 5})
    with pytest.raises(IndexError, match="step 5 is beyond the run's 5 steps"):
        progress_at(config, 5)


# --- turns -----------------------------------------------------------------------------------------------------


def test_each_turn_moves_its_own_parameters_by_its_own_gradient(toy_store, tmp_path: Path) -> None:
    changes = {**PLAIN_SGD, "optimizer.lr": 0.1, "engine.steps": 3}
    run = train(toy_store, tmp_path / "run", "toy_methods:TwoTurns", changes)
    weights = load_file(run.weights)
    # x <- x - 0.1 * 2 x; had the other turn's gradient of 10 stayed, it would be far off
    assert weights["first"].item() == pytest.approx(1.0 * 0.8**3)
    assert weights["second"].item() == pytest.approx(2.0 * 0.8**3)
    rows = rows_of(run)
    assert [set(row["terms"]) for row in rows] == [{"first/first", "second/second"}] * 3
    assert rows[0]["terms"]["first/first"] == pytest.approx(1.0 + 20.0)
    assert rows[0]["terms"]["second/second"] == pytest.approx(4.0 + 10 * 0.8)  # after the first turn
    assert rows[0]["loss"] == pytest.approx(21.0 + 12.0)


def test_each_turn_keeps_the_state_of_its_own_optimizer_over_a_stop(toy_store, tmp_path: Path) -> None:
    whole = train(toy_store, tmp_path / "whole", "toy_methods:TwoTurns")
    train_and_stop(toy_store, tmp_path / "run", "toy_methods:TwoTurns", after=3)
    saved = load_latest(tmp_path / "run" / "checkpoints")[0]
    assert saved.tensors.keys() == {"method", "optimizer-first", "optimizer-second"}
    resume_run(tmp_path / "run")
    assert weights_of(tmp_path / "run") == weights_of(whole)


def test_default_generator_is_seeded_for_each_step_and_turn(toy_store, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "toy_methods:Chance")
    drawn = [value for row in rows_of(run) for value in row["terms"].values()]
    assert len(set(drawn)) == 12
    train_and_stop(toy_store, tmp_path / "stopped", "toy_methods:Chance", after=3)
    torch.manual_seed(99)
    resume_run(tmp_path / "stopped")
    assert [value for row in rows_of(tmp_path / "stopped") for value in row["terms"].values()] == drawn


# --- gradients -------------------------------------------------------------------------------------------------


def test_accumulated_batches_give_the_gradient_of_one_big_batch(toy_store, tmp_path: Path) -> None:
    big = noise_batch(6)
    parts = [Batch(*(values[2 * index : 2 * index + 2] for values in big)) for index in range(3)]
    progress = Progress("main", 0, 6, 0, 6)
    after = {}
    for name, batches in {"one": [big], "three": parts}.items():
        training = assembled(toy_store, tmp_path / name, "toy_methods:Averaging", PLAIN_SGD)
        before = [value.detach().clone() for value in training.method.parameters()]
        take_turn(training, batches, progress, "main")
        after[name] = [value.detach() for value in training.method.parameters()]
        assert not all(torch.equal(a, b) for a, b in zip(before, after[name], strict=True))
        assert training.window.terms[LOSS].item() == pytest.approx(1.0, rel=2.0)
    for one, three in zip(after["one"], after["three"], strict=True):
        torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-7)


def test_accumulating_run_takes_its_share_of_batches_and_resumes_where_it_was(toy_store, tmp_path: Path) -> None:
    changes = {"engine.accumulate": 2, "engine.steps": 4}
    whole = train(toy_store, tmp_path / "whole", "mean_teacher", changes)
    train_and_stop(toy_store, tmp_path / "run", "mean_teacher", after=3, changes=changes)
    resume_run(tmp_path / "run")
    assert weights_of(tmp_path / "run") == weights_of(whole)
    single = train(toy_store, tmp_path / "single", "mean_teacher", {"engine.steps": 4})
    assert weights_of(single) != weights_of(whole)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_gradient_is_clipped_to_the_norm_asked_for(clip_norm: float, toy_store, tmp_path: Path) -> None:
    changes = {**PLAIN_SGD, "optimizer.lr": 0.1, "optimizer.clip_norm": clip_norm}
    training = assembled(toy_store, tmp_path / "run", "toy_methods:Averaging", changes)
    before = torch.nn.utils.parameters_to_vector(training.method.parameters()).detach().clone()
    take_turn(training, [noise_batch(2, scale=5.0)], Progress("main", 0, 6, 0, 6), "main")
    moved = torch.nn.utils.parameters_to_vector(training.method.parameters()).detach() - before
    norm = moved.norm().item() / 0.1
    assert norm == pytest.approx(0.5, rel=1e-4) if clip_norm else norm > 1.0


# --- schedules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "step", "expected"), [
    ({"schedule": "constant"}, 0, 0.01),
    ({"schedule": "constant"}, 99, 0.01),
    ({"schedule": "poly"}, 0, 0.01),
    ({"schedule": "poly", "poly_power": 1.0}, 25, 0.0075),
    ({"schedule": "poly", "poly_power": 2.0}, 50, 0.0025),
    ({"schedule": "poly"}, 50, 0.01 * 0.5**0.9),
    ({"schedule": "step", "decay_every_steps": 40}, 39, 0.01),
    ({"schedule": "step", "decay_every_steps": 40}, 40, 0.001),
    ({"schedule": "step", "decay_every_steps": 40, "decay_factor": 0.5}, 99, 0.0025),
])
def test_learning_rate_follows_its_schedule(settings: dict[str, Any], step: int, expected: float) -> None:
    config = SimpleNamespace(optimizer=OptimizerConfig(lr=0.01, **settings), engine=EngineConfig())
    assert learning_rate(config, Progress("main", step, 100, 500 + step, 1000)) == pytest.approx(expected)


def test_a_stage_may_have_a_schedule_of_its_own() -> None:
    stages = (StageConfig(name="pretrain", steps=100, schedule="constant"), StageConfig(name="adapt", steps=100))
    config = SimpleNamespace(optimizer=OptimizerConfig(lr=0.01, schedule="poly", poly_power=1.0),
                             engine=EngineConfig(steps=200, stages=stages))
    rates = [learning_rate(config, Progress(stage.name, 50, 100, 50, 200)) for stage in stages]
    assert rates == pytest.approx([0.01, 0.005])


def test_group_keeps_its_own_weight_decay_and_share_of_the_learning_rate() -> None:
    values = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": [values[0]]}, {"params": [values[1]], "weight_decay": 0.0, "lr_scale": 0.1}]
    for name in ("sgd", "adamw"):
        optimizer = build_optimizer(groups, OptimizerConfig(name=name, lr=0.5, weight_decay=0.02, momentum=0.7))
        set_learning_rate(optimizer, 0.4)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.04])
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.02, 0.0]
        momentum = optimizer.param_groups[0].get("momentum", optimizer.param_groups[0].get("betas", (0,))[0])
        assert momentum == 0.7


def test_sgd_step_is_that_of_the_equation(toy_store, tmp_path: Path) -> None:
    changes = {"optimizer.lr": 0.1, "optimizer.momentum": 0.5, "optimizer.schedule": "step",
               "optimizer.decay_every_steps": 2, "optimizer.decay_factor": 0.1, "engine.steps": 3}
    run = train(toy_store, tmp_path / "run", "toy_methods:TwoTurns", changes)
    value, velocity = 1.0, 0.0
    for lr in (0.1, 0.1, 0.01):
        velocity = 0.5 * velocity + 2 * value
        value -= lr * velocity
    assert load_file(run.weights)["first"].item() == pytest.approx(value)
    assert [row["lr"] for row in rows_of(run)] == pytest.approx([0.1, 0.1, 0.01])


# --- what is not finite ----------------------------------------------------------------------------------------


def test_loss_that_is_not_finite_stops_with_step_term_and_cases(toy_store, tmp_path: Path, told: list[Any]) -> None:
    changes = {"method.fault": "term", "method.fault_step": 4}
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(DivergedError) as caught:
        train(toy_store, run.path, "toy_methods:Staged", changes)
    assert caught.value.exit_code == 8
    assert caught.value.problem.startswith("bad is not finite at step 4 (cases ")
    config = run.read_config()
    split = json.loads(run.run.read_text())["split"]
    names = [*split["labeled"], *split["unlabeled"]]
    streams = Streams(config.seed, 0, 1, len(split["labeled"]), len(split["unlabeled"]),
                      config.data.labeled_per_batch, config.data.unlabeled_per_batch)
    expected = {names[draw.case] for draw in draws(4, streams)}
    said = caught.value.problem.partition("(cases ")[2].partition(")")[0]
    assert set(said.split(", ")) == expected
    assert generations_of(run) == [2, 4]
    assert not run.finished()
    snapshot, passed_over = load_latest(run.checkpoints)
    assert (snapshot.state["step"], passed_over) == (4, [])
    assert all(torch.isfinite(value).all() for group in snapshot.tensors.values() for value in group.values())
    with pytest.raises(DivergedError, match="at step 4"):  # the same again: nothing is skipped in silence
        resume_run(run.path)


@pytest.mark.parametrize("save_every", [1, 2])
def test_weights_that_are_not_finite_are_never_saved(save_every: int, toy_store, tmp_path: Path) -> None:
    changes = {"method.fault": "gradient", "method.fault_step": 2, "engine.save_every": save_every}
    with pytest.raises(DivergedError, match="not finite") as caught:
        train(toy_store, tmp_path / "run", "toy_methods:Staged", changes)
    assert caught.value.exit_code == 8
    assert generations_of(tmp_path / "run")[-1] == 2
    snapshot, _ = load_latest(tmp_path / "run" / "checkpoints")
    assert all(torch.isfinite(value).all() for value in snapshot.tensors["method"].values())


# --- precision and layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_compute_in_the_precision_asked_for_on_one_device(
    precision: str, dtype: torch.dtype, toy_store, tmp_path: Path
) -> None:
    training = assembled(toy_store, tmp_path / "run", "toy_methods:Staged", {"engine.precision": precision})
    take_turn(training, [noise_batch(2)], Progress("first", 0, 6, 0, 6), "main")
    assert training.method.network.dtypes == [dtype]
    assert all(value.dtype == torch.float32 for value in training.method.parameters())
    assert training.window.terms[LOSS].dtype == torch.float32


def test_precision_of_a_run_is_recorded_and_changes_its_weights(toy_store, finished_run, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "supervised", {"engine.precision": "bf16"})
    assert run.read_config().engine.precision == "bf16"
    assert json.loads(run.environment.read_text())["precision"] == "bf16"
    assert weights_of(run) != weights_of(finished_run("supervised"))
    exact = [row["loss"] for row in rows_of(finished_run("supervised"))]
    assert [row["loss"] for row in rows_of(run)] == pytest.approx(exact, rel=0.03)


def test_automatic_precision_is_recorded_as_what_it_became(toy_store, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "toy_methods:Averaging", {"engine.precision": "auto"})
    assert run.read_config().engine.precision in ("fp32", "bf16")


def test_memory_format_changes_the_layout_and_not_the_loss(toy_store, finished_run, tmp_path: Path) -> None:
    layouts = {}
    for on in (True, False):
        training = assembled(toy_store, tmp_path / f"{on}", "supervised", {"engine.channels_last": on})
        weight = next(value for value in training.method.parameters() if value.dim() == 5 and value.shape[1] > 1)
        layouts[on] = weight.is_contiguous(memory_format=torch.channels_last_3d) and not weight.is_contiguous()
    assert layouts == {True: True, False: False}
    plain = train(toy_store, tmp_path / "plain", "supervised", {"engine.channels_last": False})
    losses = [row["loss"] for row in rows_of(finished_run("supervised"))]
    found = [row["loss"] for row in rows_of(plain)]
    assert found[:2] == pytest.approx(losses[:2], rel=1e-3)  # later, tiny batches have made rounding larger
    assert found == pytest.approx(losses, rel=0.1)


@pytest.mark.slow
def test_compiled_networks_are_compiled_once_and_give_nearly_the_same_loss(toy_store, tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    changes = {"network.dropout": 0.0, "engine.steps": 4}
    plain = train(toy_store, tmp_path / "plain", "mean_teacher", changes)
    counters.clear()
    compiled = train(toy_store, tmp_path / "compiled", "mean_teacher", {**changes, "engine.compile": True})
    assert counters["stats"]["unique_graphs"] == 2  # student and teacher, not one for each step
    losses = [row["loss"] for row in rows_of(plain)]
    assert [row["loss"] for row in rows_of(compiled)] == pytest.approx(losses, rel=0.05)
    assert load_file(compiled.weights).keys() == load_file(plain.weights).keys()


# --- validation ------------------------------------------------------------------------------------------------


def test_validation_never_changes_training(toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {"data.validation": 1, "engine.steps": 4}
    often = train(toy_store, tmp_path / "often", "mean_teacher", {**cases, "engine.validate_every": 1})
    seldom = train(toy_store, tmp_path / "seldom", "mean_teacher", {**cases, "engine.validate_every": 1000})
    monkeypatch.setattr(engine_train, "validator_for", lambda *arguments, **options: None)
    never = train(toy_store, tmp_path / "never", "mean_teacher", cases)
    assert weights_of(often) == weights_of(seldom) == weights_of(never)
    found = {run.path.name: [row["step"] for row in rows_of(run) if "validation" in row]
             for run in (often, seldom, never)}
    assert found == {"often": [1, 2, 3, 4], "seldom": [4], "never": []}
    losses = [[row["loss"] for row in rows_of(run) if "loss" in row] for run in (often, seldom, never)]
    assert losses[0] == losses[1] == losses[2]
    (case,) = json.loads(often.run.read_text())["split"]["validation"]
    assert all(set(row["validation"]["dice_per_case"]) == {case} for row in rows_of(often) if "validation" in row)
    assert all(0 <= row["validation"]["dice"] <= 100 for row in rows_of(often) if "validation" in row)


# --- what is logged --------------------------------------------------------------------------------------------


def test_rows_hold_every_term_and_weight_rate_throughput_wait_and_memory(finished_run) -> None:
    rows = rows_of(finished_run("mean_teacher"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert set(row["terms"]) == {"supervised", "consistency", "consistency_weight"}
        terms = row["terms"]
        assert row["loss"] == pytest.approx(
            terms["supervised"] + terms["consistency_weight"] * terms["consistency"], rel=1e-5)
        assert row["seconds_per_step"] > 0
        assert row["patches_per_second"] == pytest.approx(4 / row["seconds_per_step"])
        assert 0 <= row["data_wait_share"] <= 1
        assert 50 < row["peak_memory_mb"] < 50_000
    assert rows[0]["terms"]["consistency_weight"] < rows[-1]["terms"]["consistency_weight"] <= 0.1
    assert [row["lr"] for row in rows] == pytest.approx([0.01 * (1 - step / 6) ** 0.9 for step in range(6)])


def test_row_is_the_mean_over_its_steps_and_the_last_step_has_one(toy_store, finished_run, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "mean_teacher", {"engine.log_every": 4})
    single = rows_of(finished_run("mean_teacher"))
    assert [row["step"] for row in rows_of(run)] == [4, 6]
    for row, steps in zip(rows_of(run), (single[:4], single[4:]), strict=True):
        assert row["loss"] == pytest.approx(sum(each["loss"] for each in steps) / len(steps), rel=1e-6)
        for name, value in row["terms"].items():
            assert value == pytest.approx(sum(each["terms"][name] for each in steps) / len(steps), rel=1e-6)


def test_tensorboard_shows_the_same_numbers_each_step_once_even_after_a_stop(toy_store, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    train_and_stop(toy_store, run, "mean_teacher", after=3)
    resume_run(run)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"loss", "lr", "terms/supervised", "terms/consistency", "terms/consistency_weight", "seconds_per_step",
            "data_wait_share", "patches_per_second", "peak_memory_mb"} <= set(events.Tags()["scalars"])
    shown = events.Scalars("terms/supervised")
    assert [event.step for event in shown] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in shown] == pytest.approx([row["terms"]["supervised"] for row in rows_of(run)])


def test_environment_says_what_the_run_ran_on(finished_run) -> None:
    environment = json.loads(finished_run("supervised").environment.read_text())
    assert environment["threads"] == 1
    assert environment["world_size"] == 1
    assert environment["precision"] == "fp32"
    assert torch.__version__.startswith(environment["packages"]["torch"].partition("+")[0])
    text = json.dumps(environment)
    assert str(Path.home()) not in text


def test_run_directory_holds_what_is_promised(finished_run) -> None:
    run = finished_run("supervised")
    found = {path.name for path in run.path.iterdir()}
    assert {"config.json", "weights.safetensors", "metrics.jsonl", "environment.json", "checkpoints"} <= found
    assert not [name for name in found if name.startswith(".tmp")]
    assert generations_of(run) == [4, 6]
    assert untimed_rows_of(run)[-1]["step"] == 6
