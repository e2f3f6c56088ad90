from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from semivox.config import SECTIONS, RunConfig, config_to_json, known_keys
from semivox.errors import UsageError
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.methods import METHODS, get_method
from semivox.recipes import fit_stages, merge, parse_settings, parse_value, resolve, scale

CHANNEL = ChannelPlan(name="MRI", scheme="zscore", mean=0.0, std=1.0, percentile_00_5=0.0, percentile_99_5=1.0)
PLAN = Plan(recipe="test", dimensions=3, channels=(CHANNEL,), class_names=("background", "organ"), spacing_mm=None,
            spacing_known=True, patch_size=(48, 32, 16), labeled_per_batch=2, unlabeled_per_batch=3,
            foreground_fraction=0.25, network="vnet")

STAGED = '''
from dataclasses import dataclass
from semivox.methods.base import Method, MethodConfig
from semivox.types import Stage

@dataclass(frozen=True, kw_only=True)
class Config(MethodConfig):
    warmup_steps: int = 300
    optional_steps: int | None = None
    pretrain_share: float = 0.5

class Staged(Method):
    Config = Config
    published_steps = 1000
    step_floors = {"warmup_steps": 40}
    profiles = {"default": {"optimizer.momentum": 0.5, "optimizer.lr": 0.25},
                "late": {"method.warmup_steps": 800, "optimizer.lr": 0.5}}

    @classmethod
    def stages(cls, config):
        rest = 1 - config.pretrain_share
        return (Stage("pretrain", config.pretrain_share, "constant"), Stage("adapt", 0.6 * rest),
                Stage("refine", 0.4 * rest))
'''


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "staged_for_recipes.py").write_text(STAGED)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "staged_for_recipes:Staged"


def resolved(name: str, **wishes: Any) -> RunConfig:
    return resolve(PLAN, merge({"method": {"name": name}}, wishes))


def with_settings(method: str, *settings: str) -> RunConfig:
    return resolve(PLAN, merge({"method": {"name": method}}, parse_settings(settings, method)))


def line(call: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


def sizes(config: RunConfig) -> dict[str, int]:
    return {stage.name: stage.steps for stage in config.engine.stages}


# --- the layers ------------------------------------------------------------------------------------------------


def test_plan_gives_patch_batch_and_network() -> None:
    config = resolved("mean_teacher")
    assert config.data.patch_size == (48, 32, 16)
    assert (config.data.labeled_per_batch, config.data.unlabeled_per_batch) == (2, 3)
    assert config.data.foreground_fraction == 0.25
    assert config.network.name == "vnet"


def test_supervised_gets_all_patches_labeled() -> None:
    config = resolved("supervised")
    assert (config.data.labeled_per_batch, config.data.unlabeled_per_batch) == (5, 0)


def test_wishes_are_stronger_than_profile_plan_and_method() -> None:
    config = resolved("mean_teacher", profile="released", method={"ramp_staircase": 7}, data={"labeled_per_batch": 1})
    assert config.profile == "released"
    assert config.method.teacher_mode == "train"  # of the profile
    assert config.method.ramp_staircase == 7  # of the user, over the profile's
    assert config.data.labeled_per_batch == 1
    assert config.data.unlabeled_per_batch == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [None, 17, 2000, 6000, 9001])
def test_resolved_configuration_fed_back_gives_an_identical_one(method: str, steps: int | None) -> None:
    for profile in get_method(method).profiles:
        wishes: dict[str, Any] = {"profile": profile, "seed": 3, **({"engine": {"steps": steps}} if steps else {})}
        config = resolved(method, **wishes)
        content = json.loads(json.dumps(config_to_json(config)))
        assert resolve(PLAN, content) == config
        other = Plan(**{**vars(PLAN), "labeled_per_batch": 1, "patch_size": (16, 16, 16), "network": "unet3d"})
        assert resolve(other, content) == config  # what was written holds, whatever the plan says now


# --- steps -----------------------------------------------------------------------------------------------------


def test_step_counts_keep_their_fraction_in_a_shorter_run() -> None:
    config = resolved("mean_teacher", engine={"steps": 2000})
    assert config.method.rampup_steps == 2000
    assert config.optimizer.decay_every_steps == round(2500 / 3)
    assert sizes(config) == {"main": 2000}


def test_step_counts_are_not_stretched_in_a_longer_run() -> None:
    config = resolved("mean_teacher", engine={"steps": 12_000})
    assert config.method.rampup_steps == 6000
    assert config.optimizer.decay_every_steps == 2500


def test_step_counts_of_the_user_are_taken_as_they_are() -> None:
    config = resolved("mean_teacher", engine={"steps": 2000}, method={"rampup_steps": 500},
                      optimizer={"decay_every_steps": 5000})
    assert config.method.rampup_steps == 500
    assert config.optimizer.decay_every_steps == 5000


def test_without_steps_a_run_has_the_published_length(staged: str) -> None:
    assert resolved("mean_teacher").engine.steps == 6000
    assert resolved(staged).engine.steps == 1000
    assert sizes(resolved(staged)) == {"pretrain": 500, "adapt": 300, "refine": 200}


@pytest.mark.parametrize(("profile", "steps", "expected"), [
    ("default", 1000, 300), ("default", 200, 60), ("default", 100, 40), ("default", 60, 30), ("default", 3, 1),
    ("late", 200, 160), ("late", 40, 32), ("late", 20, 16)])
def test_count_of_steps_does_not_fall_below_its_floor_nor_the_floor_beyond_half_the_run(
        staged: str, profile: str, steps: int, expected: int) -> None:
    assert resolved(staged, profile=profile, engine={"steps": steps}).method.warmup_steps == expected
    assert resolved(staged, engine={"steps": steps}, method={"warmup_steps": 2}).method.warmup_steps == 2


def test_profile_is_laid_over_the_default_one_and_both_under_the_wishes(staged: str) -> None:
    plain, late = resolved(staged), resolved(staged, profile="late")
    assert (plain.optimizer.lr, plain.optimizer.momentum) == (0.25, 0.5)
    assert (late.optimizer.lr, late.optimizer.momentum) == (0.5, 0.5)
    assert resolved(staged, optimizer={"lr": 0.125}).optimizer.lr == 0.125


def test_stages_follow_the_settings_of_the_method_and_keep_their_schedules(staged: str) -> None:
    config = resolved(staged, method={"pretrain_share": 0.2}, engine={"steps": 100})
    assert sizes(config) == {"pretrain": 20, "adapt": 48, "refine": 32}
    assert [stage.schedule for stage in config.engine.stages] == ["constant", None, None]
    stages = [{"name": "pretrain", "steps": 1}, {"name": "adapt", "steps": 1, "schedule": "step"},
              {"name": "refine", "steps": 2}]
    own = resolved(staged, engine={"stages": stages})
    assert sizes(own) == {"pretrain": 1, "adapt": 1, "refine": 2}
    assert [stage.schedule for stage in own.engine.stages] == ["constant", "step", None]


def test_step_counts_of_a_profile_are_scaled_too(staged: str) -> None:
    assert resolved(staged, profile="late").method.warmup_steps == 800
    config = resolved(staged, profile="late", engine={"steps": 100})
    assert config.method.warmup_steps == 80
    assert config.method.optional_steps is None
    assert config.optimizer.lr == 0.5


@pytest.mark.parametrize(("steps", "ratio", "expected"), [
    (6000, 1 / 3, 2000), (6000, 2.0, 6000), (5, 1e-6, 1), (0, 0.5, 0), (3, 0.5, 2)])
def test_count_of_steps_is_scaled(steps: int, ratio: float, expected: int) -> None:
    assert scale(steps, ratio) == expected


# --- stages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 4, 5, 7, 10, 99, 100, 333, 1000, 6001])
def test_stages_are_scaled_and_sum_to_the_steps(steps: int, staged: str) -> None:
    found = sizes(resolved(staged, engine={"steps": steps}))
    assert list(found) == ["pretrain", "adapt", "refine"]
    assert sum(found.values()) == steps
    assert min(found.values()) >= 1
    for name, share in (("pretrain", 0.5), ("adapt", 0.3), ("refine", 0.2)):
        assert abs(found[name] - share * steps) <= 1.5


def test_stages_of_the_user_say_how_long_the_run_is(staged: str) -> None:
    stages = [{"name": "pretrain", "steps": 10}, {"name": "adapt", "steps": 1}, {"name": "refine", "steps": 5}]
    config = resolved(staged, engine={"stages": stages})
    assert config.engine.steps == 16
    assert sizes(config) == {"pretrain": 10, "adapt": 1, "refine": 5}
    shorter = resolved(staged, engine={"stages": stages, "steps": 8})
    assert sizes(shorter) == {"pretrain": 5, "adapt": 1, "refine": 2}


def test_tiny_shares_get_a_step_each() -> None:
    stages = [{"name": name, "steps": share} for name, share in zip("abcdef", (30, 30, 1, 1, 1, 1), strict=True)]
    found = fit_stages(stages, 10, list("abcdef"))
    assert sum(stage["steps"] for stage in found) == 10
    assert min(stage["steps"] for stage in found) == 1


@pytest.mark.parametrize(("stages", "problem"), [
    ("main", "a list of {name, steps} is needed"),
    ([], "a list of {name, steps} is needed"),
    ([{"name": "main"}], "a list of {name, steps} is needed"),
    ([{"steps": 5}], "a list of {name, steps} is needed"),
    ([{"name": "main", "steps": "5"}], "a list of {name, steps} is needed"),
    ([{"name": "main", "steps": -5}], "a list of {name, steps} is needed"),
    ([{"name": "main", "steps": 5, "lr": 1}], "unknown key"),
    ([{"name": "mein", "steps": 5}], "found ['mein'], the method has the stages ['main']"),
    ([{"name": "main", "steps": 5}, {"name": "more", "steps": 5}], "the method has the stages ['main']"),
])
def test_stages_that_make_no_sense_are_refused(stages: Any, problem: str) -> None:
    said = line(resolved, "mean_teacher", engine={"stages": stages, "steps": 5})
    assert "engine.stages" in said
    assert problem in said


@pytest.mark.parametrize("steps", [0, -1, 2.5, "many", None, [1]])
def test_number_of_steps_must_be_one(steps: Any) -> None:
    assert f"engine.steps: found {steps!r}" in line(resolved, "mean_teacher", engine={"steps": steps})


def test_fewer_steps_than_stages_are_refused(staged: str) -> None:
    assert "engine.steps: found 2, the method has 3 stages" in line(resolved, staged, engine={"steps": 2})


# --- what is asked for -----------------------------------------------------------------------------------------


def test_method_is_needed() -> None:
    assert "no method named" in line(resolve, PLAN, {})
    assert "did you mean 'mean_teacher'" in line(resolved, "mean_teachr")


@pytest.mark.parametrize("profile", ["relesed", ["released"], None])
def test_profile_that_is_not_there_is_told_with_the_near_match(profile: Any) -> None:
    said = line(resolved, "mean_teacher", profile=profile)
    assert f"profile: mean_teacher has no profile {profile!r}" in said
    assert "default, released" in said
    if profile == "relesed":
        assert "did you mean 'released'" in said


@pytest.mark.parametrize("wishes", [{"method": "supervised"}, {"method": {"name": "supervised"}, "engine": 6}, []])
def test_wishes_of_another_shape_are_refused(wishes: Any) -> None:
    assert "an object is needed" in line(resolve, PLAN, wishes)


# --- --set -----------------------------------------------------------------------------------------------------

OTHER_TEXT = {
    "network.name": "unet3d",
    "network.decoder": "trilinear",
    "network.init": '"kaiming"',
    "network.options": '{"a": [1, 2]}',
    "network.dropout": "0.25",
    "data.patch_size": "16,32,64",
    "method.second_network": "unet3d",
}
"""A legal value of fields that do not say themselves which values are legal."""


def other_text(method: str, path: str, value: Any) -> str:
    """A legal value, other than the one that a field has."""
    if path == "engine.stages":
        stages = get_method(method).stages(get_method(method).Config())
        return json.dumps([{"name": stage.name, "steps": 40, "schedule": "poly", "pick": "last"} for stage in stages])
    options = [*get_method(method).profiles] if path == "profile" else choices(method, path)
    if options and isinstance(value, list):
        return json.dumps(options[:1])
    if options:
        return next(option for option in options if option != value)
    if path in OTHER_TEXT and parse_value(OTHER_TEXT[path]) != value:
        return OTHER_TEXT[path]
    if isinstance(value, bool):
        return json.dumps(not value)
    if isinstance(value, float):
        return "0.25" if value != 0.25 else "0.5"
    assert value is None or isinstance(value, int), f"say in OTHER_TEXT what else {path} can be"
    return str((value or 0) + 2)  # CML takes even numbers of patches alone


def choices(method: str, path: str) -> list[str]:
    """The names that a field can be, or can have in its list; none for other fields."""
    section, _, key = path.rpartition(".")
    settings = get_method(method).Config if section == "method" else SECTIONS.get(section)
    found: list[str] = []
    rest = [get_type_hints(settings, include_extras=True)[key]] if settings else []
    while rest:
        hint = rest.pop()
        found += [name for name in get_args(hint) if get_origin(hint) is Literal]
        rest += [inner for inner in get_args(hint) if get_origin(hint) is not Literal and inner is not None]
    return found


def value_at(config: RunConfig, path: str) -> Any:
    content: Any = config_to_json(config)
    for part in path.split("."):
        content = content[part]
    return content


@pytest.mark.parametrize(("method", "path"), [
    (method, path) for method in METHODS for path in known_keys(method)
    if path not in {"format", "method.name"} and not (path == "profile" and len(get_method(method).profiles) == 1)
])
def test_set_reaches_every_field(method: str, path: str) -> None:
    before = value_at(resolved(method), path)
    text = other_text(method, path, before)
    picking = ["data.validation=1", "engine.validate_every=1"] if path.endswith("_pick") else []
    after = value_at(with_settings(method, *picking, f"{path}={text}"), path)
    assert after != before
    assert after == parse_value(text)


def test_set_reaches_the_fields_that_have_one_legal_value() -> None:
    assert with_settings("supervised", "profile=default", "format=1").profile == "default"
    assert "format: found 2" in line(with_settings, "supervised", "format=2")
    assert "profile: supervised has no profile 'released'" in line(with_settings, "supervised", "profile=released")


def test_set_can_name_the_method_and_then_its_fields() -> None:
    config = with_settings("supervised", "method.ema_decay=0.5", "method.name=mean_teacher")
    assert config.method.name == "mean_teacher"
    assert config.method.ema_decay == 0.5


def test_later_settings_win_and_others_stay() -> None:
    config = with_settings("mean_teacher", "optimizer.lr=1", "optimizer.lr=2", "optimizer.momentum=0.5")
    assert (config.optimizer.lr, config.optimizer.momentum) == (2.0, 0.5)


@pytest.mark.parametrize(("text", "name"), [
    ("network=unet3d", "unet3d"), ("network=monai:DynUNet", "monai:DynUNet"), ("network.name=vnet", "vnet")])
def test_network_alone_is_short_for_its_name(text: str, name: str) -> None:
    assert with_settings("mean_teacher", text).network.name == name
    assert with_settings("mean_teacher", "optimizer=adamw").optimizer.name == "adamw"


def test_options_of_a_network_are_set_one_by_one() -> None:
    config = with_settings("mean_teacher", "network=monai:DynUNet", "network.options.strides=1,2,2",
                           "network.options.deep_supervision=false", "network.options.filters=[8, 16, 32]")
    assert config.network.options == {"strides": [1, 2, 2], "deep_supervision": False, "filters": [8, 16, 32]}


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("0.5", 0.5), ("1e-3", 0.001), ("true", True), ("null", None), ("bf16", "bf16"), ("", ""),
    ("16,32,64", [16, 32, 64]), ("[16, 32]", [16, 32]), ("[a,b]", ["a", "b"]), ("a,b", ["a", "b"]),
    ('{"a": 1}', {"a": 1}), ('"3"', "3"), ("$(rm -r /)", "$(rm -r /)"), ("monai:DynUNet", "monai:DynUNet"),
    ("9" * 5000, "9" * 5000),
])
def test_texts_become_json_lists_or_stay_texts(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(("setting", "parts"), [
    ("optimizer.lr", ["--set optimizer.lr: no '=' found", "section.key=value"]),
    ("optimizer.learning=1", ["--set optimizer.learning: unknown key", "optimizer.lr"]),
    ("optimizer.momentun=1", ["did you mean 'optimizer.momentum'"]),
    ("method.ema_decy=1", ["--set method.ema_decy: unknown key", "did you mean 'method.ema_decay'"]),
    ("ema_decay=1", ["--set ema_decay: unknown key", "did you mean 'method.ema_decay'"]),
    ("optimiser.lr=1", ["did you mean 'optimizer.lr'"]),
    ("data=3", ["--set data: unknown key", "data.patch_size"]),
    ("=3", ["unknown key"]),
    ("engine.stages.0.steps=3", ["--set engine.stages.0.steps: unknown key", "engine.stages"]),
])
def test_unknown_setting_is_told_with_its_path_and_the_near_match(setting: str, parts: list[str]) -> None:
    said = line(parse_settings, [setting], "mean_teacher")
    for part in parts:
        assert part.lower() in said.lower()


def test_illegal_setting_is_told_with_its_full_path() -> None:
    assert "method.ema_decay: found 2" in line(with_settings, "mean_teacher", "method.ema_decay=2")
    assert "did you mean 'poly'" in line(with_settings, "mean_teacher", "optimizer.schedule=pol")
    assert "engine.steps: found inf" in line(with_settings, "mean_teacher", "engine.steps=1e999")
