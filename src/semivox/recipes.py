"""Resolve a run's configuration: defaults of method and plan, then the user's wishes on top."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from semivox.config import SCALARS, SECTIONS, OptimizerConfig, RunConfig, config_from_json, known_keys
from semivox.errors import UsageError, did_you_mean
from semivox.imaging.plan import Plan
from semivox.methods import get_method


def resolve(plan: Plan, wishes: dict[str, Any]) -> RunConfig:
    """The complete configuration of a run.

    Args:
        plan: the store's plan; gives patch, batch and network.
        wishes: partial JSON of a configuration (file, flags and ``--set`` merged); names at least the method.

    Raises:
        UsageError: unknown key, value or profile, with the full path and what is legal.
    """
    name = wishes.get("method", {}).get("name")
    if not name:
        raise UsageError("C2", "--method", "no method named", "add --method, `semivox methods` lists them")
    method = get_method(str(name))
    profile = wishes.get("profile", "default")
    if profile not in method.profiles:
        raise UsageError("C2", "profile", f"{name} has no profile {profile!r}",
                         did_you_mean(str(profile), method.profiles))
    overrides: dict[str, Any] = {}
    for path, value in method.profiles[profile].items():
        overrides = merge(overrides, nest(path, value))
    chosen = merge(overrides, wishes)
    steps = chosen.get("engine", {}).get("steps", method.published_steps)
    if not isinstance(steps, int) or steps < 1:
        raise UsageError("C2", "engine.steps", f"found {steps!r}, a whole number of at least 1 is needed",
                         "give engine.steps a legal value")
    raw = merge(defaults(plan, str(name), steps), chosen)
    raw["engine"]["stages"] = fit_stages(raw["engine"]["stages"], steps)
    return config_from_json(raw)


def defaults(plan: Plan, method_name: str, steps: int) -> dict[str, Any]:
    """The protocol's configuration for a method: the same ground for all of them.

    Step counts are published for ``method.published_steps``; a shorter run keeps them at the same fraction.
    """
    method = get_method(method_name)
    batch = {"labeled_per_batch": plan.labeled_per_batch, "unlabeled_per_batch": plan.unlabeled_per_batch}
    if not method.uses_unlabeled:
        batch = {"labeled_per_batch": sum(batch.values()), "unlabeled_per_batch": 0}
    return {
        "method": {"name": method_name, **scaled_steps(method.Config, steps, method.published_steps)},
        "network": {"name": plan.network},
        "data": {**batch, "patch_size": list(plan.patch_size), "foreground_fraction": plan.foreground_fraction},
        "optimizer": scaled_steps(OptimizerConfig, steps, method.published_steps),
        "engine": {"steps": steps,
                   "stages": [{"name": key, "steps": share} for key, share in method.stage_shares.items()]},
    }


def scaled_steps(settings: type, steps: int, published_steps: int) -> dict[str, int]:
    """Defaults of all fields named ``*_steps``, at the same fraction of a run of ``steps``."""
    ratio = min(1.0, steps / published_steps)
    counts = {key.name: key.default for key in fields(settings) if key.name.endswith("_steps")}
    return {name: max(1, round(value * ratio)) if value else 0
            for name, value in counts.items() if value is not MISSING}


def fit_stages(stages: Any, steps: int) -> list[dict[str, Any]]:
    """Stages with the same shares that sum to ``steps``, each at least one step."""
    try:
        weights = [(str(stage["name"]), float(stage["steps"])) for stage in stages]
        total = sum(weight for _, weight in weights)
        sizes = [max(1, round(steps * weight / total)) for _, weight in weights]
    except (TypeError, KeyError, ValueError, ZeroDivisionError):
        raise UsageError("C2", "engine.stages", f"found {stages!r}, a list of {{name, steps}} is needed",
                         "leave it out to follow the method") from None
    sizes[-1] += steps - sum(sizes)
    return [{"name": name, "steps": size} for (name, _), size in zip(weights, sizes, strict=True)]


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``top``; sections merge, everything else is replaced."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
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
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UsageError("C1", f"--set {setting}", "no '=' found", "write --set section.key=value")
        if path in {"network", "optimizer"}:
            path += ".name"
        known = known_keys(method_name)
        if path not in known and not path.startswith("network.options."):
            shown = [key for key in known if key.startswith(path.partition(".")[0] + ".")] or [*SCALARS, *SECTIONS]
            raise UsageError("C1", f"--set {path}", "unknown key", did_you_mean(path, shown))
        wishes = merge(wishes, nest(path, parse_value(text)))
    return wishes


def parse_value(text: str) -> Any:
    """JSON where it is JSON, a list where there are commas, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        bare = text.strip()
        if bare.startswith("[") and bare.endswith("]"):
            return [parse_value(item.strip()) for item in bare[1:-1].split(",") if item.strip()]
        return [parse_value(item) for item in bare.split(",")] if "," in bare else bare
