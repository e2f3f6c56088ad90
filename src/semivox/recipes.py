"""Resolve a run's configuration: defaults of method and plan, then the user's wishes on top."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from semivox.config import OptimizerConfig, RunConfig, config_from_json, known_keys, require_sections
from semivox.errors import UsageError, did_you_mean
from semivox.imaging.plan import Plan
from semivox.methods import get_method
from semivox.strict import load_strictly
from semivox.types import Stage


def resolve(plan: Plan, wishes: dict[str, Any]) -> RunConfig:
    """The complete configuration of a run.

    Args:
        plan: the store's plan; gives patch, batch and network.
        wishes: partial JSON of a configuration (file, flags and ``--set`` merged); names at least the method.

    Raises:
        UsageError: unknown key, value or profile, with the full path and what is legal.
    """
    require_sections(wishes, "config")
    name = wishes.get("method", {}).get("name")
    if not name:
        raise UsageError("C2", "--method", "no method named", "add --method, `semivox methods` lists them")
    method = get_method(str(name))
    profile = wishes.get("profile", "default")
    if not isinstance(profile, str) or profile not in method.profiles:
        raise UsageError("C2", "profile", f"{name} has no profile {profile!r}",
                         did_you_mean(str(profile), method.profiles))
    overrides = {**method.profiles["default"], **method.profiles[profile]}
    steps = steps_of(merge(tree(overrides), wishes).get("engine", {}), method.published_steps)
    floors = {f"method.{key}": floor for key, floor in floors_of(method.step_floors, steps).items()}
    scaled = scaled_steps(overrides, steps / method.published_steps, floors)
    raw = merge(merge(defaults(plan, str(name), steps), tree({**overrides, **scaled})), wishes)
    planned = method.stages(load_strictly(method.Config, raw["method"], "method"))
    raw["engine"]["stages"] = stages_of(planned, raw["engine"].get("stages"), steps)
    return config_from_json(raw)


def steps_of(engine: dict[str, Any], published_steps: int) -> int:
    """Steps of the whole run: those asked for, else the sum of the stages asked for, else the published ones."""
    try:
        planned = sum(stage["steps"] for stage in engine["stages"]) if "stages" in engine else published_steps
    except (TypeError, KeyError):
        planned = published_steps  # fit_stages says what is wrong with them
    steps = engine.get("steps", planned)
    if not isinstance(steps, int) or steps < 1:
        raise UsageError("C2", "engine.steps", f"found {steps!r}, a whole number of at least 1 is needed",
                         "give engine.steps a legal value")
    return steps


def defaults(plan: Plan, method_name: str, steps: int) -> dict[str, Any]:
    """The protocol's configuration for a method: the same ground for all of them.

    Step counts are published for ``method.published_steps``; a shorter run keeps them at the same fraction.
    """
    method = get_method(method_name)
    ratio = steps / method.published_steps
    floors = floors_of(method.step_floors, steps)
    batch = {"labeled_per_batch": plan.labeled_per_batch, "unlabeled_per_batch": plan.unlabeled_per_batch}
    if not method.uses_unlabeled:
        batch = {"labeled_per_batch": sum(batch.values()), "unlabeled_per_batch": 0}
    return {
        "method": {"name": method_name, **scaled_steps(defaults_of(method.Config), ratio, floors)},
        "network": {"name": plan.network},
        "data": {**batch, "patch_size": list(plan.patch_size), "foreground_fraction": plan.foreground_fraction,
                 "intensity": plan.intensity},
        "optimizer": scaled_steps(defaults_of(OptimizerConfig), ratio, {}),
        "engine": {"steps": steps},
    }


def defaults_of(settings: type) -> dict[str, Any]:
    """Field to default of a configuration."""
    return {key.name: key.default for key in fields(settings) if key.default is not MISSING}


def scaled_steps(values: Mapping[str, Any], ratio: float, floors: Mapping[str, int]) -> dict[str, int]:
    """Those values whose name ends in ``_steps``, in a run that is ``ratio`` times as long as the published one."""
    return {name: scale(value, ratio, floors.get(name, 1)) for name, value in values.items()
            if name.endswith("_steps") and value is not None}


def floors_of(floors: Mapping[str, int], steps: int) -> dict[str, int]:
    """The least values of a method's counts of steps in a run of ``steps``: never beyond its half."""
    return {name: max(1, min(floor, steps // 2)) for name, floor in floors.items()}


def scale(steps: int, ratio: float, floor: int = 1) -> int:
    """A published count of steps in a run that is ``ratio`` times as long; a longer run keeps it, 0 stays 0.

    Args:
        steps: as published.
        ratio: length of the run over that of the published one.
        floor: least result, but never more than ``steps``.
    """
    return max(min(floor, steps), round(steps * min(1.0, ratio))) if steps else 0


def stages_of(planned: Sequence[Stage], wanted: Any, steps: int) -> list[dict[str, Any]]:
    """The method's stages, or those asked for, fitted to a run of ``steps``; what these leave out is the method's."""
    if wanted is None:
        wanted = [{"name": stage.name, "steps": stage.share} for stage in planned]
    fitted = fit_stages(wanted, steps, [stage.name for stage in planned])
    return [{"schedule": stage.schedule, "pick": stage.pick, **own}
            for stage, own in zip(planned, fitted, strict=True)]


def fit_stages(stages: Any, steps: int, names: list[str]) -> list[dict[str, Any]]:
    """Stages with the same shares that sum to ``steps``, each at least one step.

    Raises:
        UsageError: not a list of ``{name, steps}``, other stages than the method's, or fewer steps than stages.
    """
    try:
        found, weights = [stage["name"] for stage in stages], [stage["steps"] * 1.0 for stage in stages]
        sizes = [max(1, round(steps * weight / sum(weights))) for weight in weights]
        if min(weights) <= 0:
            raise ValueError
    except (TypeError, KeyError, ValueError, ArithmeticError):
        raise UsageError("C2", "engine.stages", f"found {stages!r}, a list of {{name, steps}} is needed",
                         "leave it out to follow the method") from None
    if found != names:
        raise UsageError("C3", "engine.stages", f"found {found}, the method has the stages {names}",
                         "name these stages in this order, or leave engine.stages out")
    if steps < len(names):
        raise UsageError("C2", "engine.steps", f"found {steps}, the method has {len(names)} stages of at least 1 step",
                         f"give at least {len(names)}")
    sizes[-1] += steps - sum(sizes)
    while sizes[-1] < 1:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[-1] += 1
    return [{**stage, "steps": size} for stage, size in zip(stages, sizes, strict=True)]


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``top``; sections merge, everything else is replaced."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def tree(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted paths to values as nested JSON."""
    merged: dict[str, Any] = {}
    for path, value in values.items():
        merged = merge(merged, nest(path, value))
    return merged


def nest(path: str, value: Any) -> dict[str, Any]:
    """``nest("method.ema_decay", 0.9)`` -> ``{"method": {"ema_decay": 0.9}}``."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def parse_settings(settings: Sequence[str], method_name: str) -> dict[str, Any]:
    """Turn ``--set key=value`` strings into partial JSON. ``network=vnet`` is short for ``network.name=vnet``.

    Raises:
        UsageError: for a key that does not exist, with the near match.
    """
    wishes: dict[str, Any] = {}
    named = [setting.partition("=")[2] for setting in settings if setting.startswith("method.name=")]
    known = known_keys(named[-1] if named else method_name)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UsageError("C1", f"--set {setting}", "no '=' found", "write --set section.key=value")
        if path in {"network", "optimizer"}:
            path += ".name"
        if path not in known and not path.startswith("network.options."):
            shown = [key for key in known if key.startswith(path.partition(".")[0] + ".")] or known
            raise UsageError("C1", f"--set {path}", "unknown key", did_you_mean(path, shown))
        wishes = merge(wishes, nest(path, parse_value(text)))
    return wishes


def parse_value(text: str) -> Any:
    """JSON where it is JSON, a list where there are commas, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:  # no JSON, or a number of more digits than Python reads
        bare = text.strip()
        if bare.startswith("[") and bare.endswith("]"):
            return [parse_value(item.strip()) for item in bare[1:-1].split(",") if item.strip()]
        return [parse_value(item) for item in bare.split(",")] if "," in bare else bare
