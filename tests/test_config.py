from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from semivox.config import (
    SECTIONS,
    EngineConfig,
    RunConfig,
    StageConfig,
    config_from_json,
    config_to_json,
    known_keys,
)
from semivox.errors import UsageError
from semivox.methods import METHODS, get_method


def complete(method: str = "mean_teacher", **sections: dict[str, Any]) -> dict[str, Any]:
    return {"method": {"name": method}, **sections}


def line(raw: Any) -> str:
    with pytest.raises(UsageError) as caught:
        config_from_json(raw, "config.json")
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_configuration_survives_its_json_form(method: str) -> None:
    raw = complete(
        method, data={"patch_size": [32, 16, 48], "labeled": 3, "labeled_draw": 0}, network={"options": {"a": [1, 2]}},
        optimizer={"name": "adamw", "lr": 1e-3}, engine={"steps": 7, "stages": [{"name": "main", "steps": 7}]})
    config = config_from_json(raw)
    text = json.dumps(config_to_json(config))
    assert config_from_json(json.loads(text)) == config
    assert config.data.patch_size == (32, 16, 48)
    assert config.engine.stages == (StageConfig(name="main", steps=7),)
    assert config_to_json(config_from_json(json.loads(text))) == json.loads(text)


def test_json_form_holds_every_field() -> None:
    content = config_to_json(config_from_json(complete()))
    assert set(content) == {"method", *SECTIONS, "seed", "profile", "format"}
    for name, cls in {**SECTIONS, "method": get_method("mean_teacher").Config}.items():
        assert set(content[name]) == {field.name for field in dataclasses.fields(cls)}


def test_configuration_is_frozen() -> None:
    config = config_from_json(complete())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.optimizer.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(("raw", "parts"), [
    ({"optimiser": {}}, ["optimiser: unknown key in config.json", "did you mean 'optimizer'", "engine"]),
    (complete(optimizer={"learning_rate": 1}), ["optimizer.learning_rate: unknown key", "Legal values: ", "momentum"]),
    (complete(optimizer={"wieght_decay": 1}), ["optimizer.wieght_decay: unknown key", "did you mean 'weight_decay'"]),
    ({"method": {"name": "mean_teacher", "ema_deca": 1}}, ["method.ema_deca: unknown key", "did you mean 'ema_decay'"]),
    ({"method": {"name": "supervised", "ema_decay": 0.9}}, ["method.ema_decay: unknown key"]),
    (complete(engine={"stages": [{"name": "main", "step": 6000}]}), ["engine.stages[0]", "step"]),
    (complete("mean_techer"), ["mean_techer", "unknown method", "did you mean 'mean_teacher'"]),
    (complete(optimizer={"schedule": "polly"}), ["optimizer.schedule", "'polly'", "did you mean 'poly'", "constant"]),
    (complete(data={"augmentation": "mild"}), ["data.augmentation", "'mild'", "crop, strong, weak"]),
    (complete(network={"decoder": "deconvv"}), ["network.decoder", "'deconvv'", "did you mean 'deconv'"]),
    (complete(engine={"precision": "fp16"}), ["engine.precision", "'fp16'", "auto", "bf16", "fp32"]),
])
def test_unknown_key_or_value_is_told_with_path_near_match_and_what_is_legal(raw: Any, parts: list[str]) -> None:
    said = line(raw)
    for part in parts:
        assert part.lower() in said.lower()


@pytest.mark.parametrize(("section", "key", "value", "needed"), [
    ("optimizer", "lr", 0, "greater than 0"),
    ("optimizer", "lr", -0.1, "greater than 0"),
    ("optimizer", "lr", float("nan"), "number"),
    ("optimizer", "lr", float("inf"), "number"),
    ("optimizer", "lr", "0.1", "number"),
    ("optimizer", "momentum", 1.0, "below 1"),
    ("optimizer", "clip_norm", -1, "at least 0"),
    ("data", "labeled_per_batch", 0, "greater than 0"),
    ("data", "labeled_per_batch", 2.5, "whole number"),
    ("data", "labeled_per_batch", True, "whole number"),
    ("data", "labeled", 0, "greater than 0"),
    ("data", "foreground_fraction", 1.5, "at most 1"),
    ("data", "patch_size", [16, 16], "patch_size"),
    ("data", "patch_size", [16, 16, 16, 16], "patch_size"),
    ("data", "patch_size", 16, "list"),
    ("network", "dropout", 1, "below 1"),
    ("network", "width", -4, "greater than 0"),
    ("engine", "save_every", 0, "greater than 0"),
    ("engine", "compile", "yes", "true or false"),
    ("engine", "threads", -1, "at least 0"),
    ("method", "ema_decay", 1.01, "at most 1"),
    ("method", "rampup_steps", -1, "at least 0"),
    ("method", "noise_std", None, "number"),
    ("method", "copy_buffers", 1, "true or false"),
])
def test_value_of_another_type_or_out_of_range_is_told_with_path_value_and_range(
    section: str, key: str, value: Any, needed: str
) -> None:
    raw = complete()
    raw[section] = {**raw.get(section, {}), key: value}
    said = line(raw)
    assert said.startswith(f"ERROR SVX-C2  {section}.{key}")
    assert needed in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("raw", "problem"), [
    ([], "config.json: found a JSON list, an object is needed"),
    ("mean_teacher", "config.json: found a JSON str"),
    ({"method": "mean_teacher"}, "method: found 'mean_teacher' in config.json, an object is needed"),
    (complete(engine=[1]), "engine: found [1] in config.json"),
    ({**complete(), "seed": "one"}, "seed: found 'one'"),
    ({**complete(), "seed": 1.0}, "seed: found 1.0"),
    ({**complete(), "profile": 3}, "profile: found 3"),
    ({**complete(), "format": 2}, "format: found 2, this version reads 1"),
    ({}, "unknown method"),
])
def test_what_is_no_configuration_is_told_apart(raw: Any, problem: str) -> None:
    assert problem in line(raw)


def test_stages_and_steps_that_contradict_each_other_are_refused() -> None:
    stages = [{"name": "main", "steps": 10}]
    assert "engine.stages: stages sum to 10 steps, engine.steps is 11" in line(
        complete(engine={"steps": 11, "stages": stages}))


def test_weights_are_not_kept_more_seldom_than_once_a_run() -> None:
    assert "engine.keep_weights_every: found 6001, the run has 6000 steps" in line(
        complete(engine={"keep_weights_every": 6001}))
    assert config_from_json(complete(engine={"keep_weights_every": 6000})).engine.keep_weights_every == 6000


def test_method_that_needs_unlabeled_patches_is_not_run_without() -> None:
    assert "data.unlabeled_per_batch: found 0" in line(complete(data={"unlabeled_per_batch": 0}))
    config = config_from_json(complete("supervised", data={"unlabeled_per_batch": 0}))
    assert config.data.unlabeled_per_batch == 0


@pytest.mark.parametrize("method", METHODS)
def test_known_keys_are_all_fields(method: str) -> None:
    config = config_from_json(complete(method))
    for path in known_keys(method):
        value: Any = config
        for part in path.split("."):
            value = getattr(value, part)
    sections = {path.partition(".")[0] for path in known_keys(method)}
    assert sections == {field.name for field in dataclasses.fields(RunConfig)}


def test_defaults_of_the_engine_agree_with_each_other() -> None:
    engine = EngineConfig()
    assert sum(stage.steps for stage in engine.stages) == engine.steps
