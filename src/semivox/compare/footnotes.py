"""Where runs of a comparison could not be alike: read off their resolved configurations, never written by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from semivox.config import RunConfig, config_to_json
from semivox.imaging.plan import Plan
from semivox.wording import count_of

SHARED = ("network", "data", "optimizer", "engine")
PLANNED = frozenset({"data.labeled", "data.labeled_draw"})
SCHEDULE_KEYS = {"step": ("optimizer.decay_every_steps", "optimizer.decay_factor"), "poly": ("optimizer.poly_power",)}
"""Settings that mean something under one schedule alone."""
UNUSED = "not used"
"""Shown for a setting that the others do not have; who lacks it differs in another one that says why."""


def ground_of(config: RunConfig, plan: Plan) -> dict[str, Any]:
    """Dotted keys to values of all that a comparison wants to be the same for everyone and that has an effect."""
    content = config_to_json(config)
    flat = {f"{section}.{key}": value for section in SHARED for key, value in content[section].items()
            if f"{section}.{key}" not in PLANNED}
    stages = flat.pop("engine.stages")
    schedules = {stage["schedule"] or flat["optimizer.schedule"] for stage in stages}
    for schedule, keys in SCHEDULE_KEYS.items():
        if schedule not in schedules:
            flat = {key: value for key, value in flat.items() if key not in keys}
    flat["engine.stages"] = [_stage(stage) for stage in stages] if len(stages) > 1 else "one"
    flat["postprocessing.largest_component"] = plan.largest_component or config.method.largest_component
    return flat


def footnotes_of(grounds: Mapping[str, Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    """One footnote for each setting in which some methods differ from the rest.

    Args:
        grounds: label of a method to its ``ground_of``.
        reference: label whose value counts as the common one where no value has the majority.

    Returns:
        ``{"methods": labels, "text": sentence}``; settings in which the same methods differ share a footnote.
    """
    texts: dict[tuple[str, ...], list[str]] = {}
    for key in dict.fromkeys(key for ground in grounds.values() for key in ground):
        values = {label: _encoded(ground, key) for label, ground in grounds.items()}
        common = _common(values, reference)
        for other in dict.fromkeys(value for value in values.values() if value not in (common, UNUSED)):
            labels = tuple(label for label, value in values.items() if value == other)
            texts.setdefault(labels, []).append(f"{key} is {other} ({common} elsewhere)")
    return [{"methods": list(labels), "text": "; ".join(parts)} for labels, parts in texts.items()]


def _common(values: Mapping[str, str], reference: str) -> str:
    counts = Counter(values.values())
    most = max(counts.values())
    leading = [value for value, count in counts.items() if count == most]
    return values[reference] if values.get(reference) in leading else leading[0]


def _encoded(ground: Mapping[str, Any], key: str) -> str:
    """A value as it is shown, which also tells values apart."""
    if key not in ground:
        return UNUSED
    value = ground[key]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", then ".join(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _stage(stage: Mapping[str, Any]) -> str:
    schedule = f" ({stage['schedule']} learning rate)" if stage["schedule"] else ""
    return f"{count_of(stage['steps'], 'step')} {stage['name']}{schedule}"
