"""The first four steps of every method on synthetic scans: numbers that only an intended change may move."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from method_material import make_method, short_run, train

STEPS = 4
FILE = Path(__file__).with_name("losses.json")

Steps = list[dict[str, float]]


def first_steps(name: str) -> Steps:
    """Loss and terms of each step, keyed ``<turn>/<term>``; ramps are scaled so that they act within the steps."""
    method = make_method(name, **short_run(name, STEPS)).double()  # rounding must not grow to the tolerance
    found = []
    for outputs in train(method, STEPS):
        values = {}
        for turn, out in outputs.items():
            values[f"{turn}/loss"] = out.loss.item()
            values.update({f"{turn}/{key}": value.item() for key, value in out.terms.items()})
        found.append(values)
    return found


def read() -> dict[str, Steps]:
    """What is written down."""
    return json.loads(FILE.read_text(encoding="utf-8"))
