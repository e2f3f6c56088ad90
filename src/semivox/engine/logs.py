"""Where numbers go: metrics.jsonl, TensorBoard and the progress line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from semivox.engine.environment import peak_memory_mb
from semivox.fsio import finite_or_none
from semivox.types import Progress, StepOutput

LOSS = "loss of the step"
"""A name that no term of a method has."""


class MetricsLog:
    """Appends one JSON object a line; the same numbers go to TensorBoard.

    Args:
        path: metrics.jsonl.
        tensorboard: folder of event files.
        position: bytes that a checkpoint vouches for; what follows them is repeated by the resumed run.
        first_step: the step that the run goes on from.
    """

    def __init__(self, path: Path, tensorboard: Path, *, position: int, first_step: int) -> None:
        self.stream = open(path, "ab")  # noqa: SIM115 - closed by close(), lives as long as the run
        self.stream.truncate(min(position, self.stream.tell()))
        self.stream.seek(0, os.SEEK_END)  # truncating does not move the position, which commit() reports
        self.writer = SummaryWriter(str(tensorboard), purge_step=first_step + 1)  # what a killed run showed after it

    def write(self, step: int, row: dict[str, Any]) -> None:
        """Append a row; nested numbers go to TensorBoard as ``<section>/<name>``."""
        clean = _clean({"step": step, **row})
        self.stream.write((json.dumps(clean) + "\n").encode())
        self.stream.flush()
        for name, value in _flatten(clean):
            if name != "step":
                self.writer.add_scalar(name, value, step)

    def commit(self) -> int:
        """Make all rows durable; the position to remember in a checkpoint."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.writer.flush()
        return self.stream.tell()

    def close(self) -> None:
        """Close both."""
        self.stream.close()
        self.writer.close()


class Window:
    """What is averaged between two log rows; tensors stay on their device until the row is written."""

    def __init__(self) -> None:
        self.terms: dict[str, torch.Tensor] = {}
        self.steps, self.seconds, self.wait_s, self.patches = 0, 0.0, 0.0, 0

    def add_output(self, output: StepOutput, *, share: float, prefix: str = "") -> None:
        """Add the loss and terms of one batch that is ``share`` of its step; ``prefix`` tells the turns apart."""
        terms = {prefix + name: value for name, value in output.terms.items()}
        for name, value in {**terms, LOSS: output.loss.detach()}.items():
            old = self.terms.get(name)
            self.terms[name] = value.float() * share if old is None else old + value.float() * share

    def add_step(self, *, seconds: float, wait_s: float, patches: int) -> None:
        """Add the time of one step: all of it, and the part that waited for data."""
        self.steps, self.patches = self.steps + 1, self.patches + patches
        self.seconds, self.wait_s = self.seconds + seconds, self.wait_s + wait_s

    def state(self) -> dict[str, Any]:
        """JSON of what has been added, so that a row does not depend on where a run was stopped."""
        terms = {name: finite_or_none(value.item()) for name, value in self.terms.items()}
        return {**vars(self), "terms": terms}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave; a term that was not finite is NaN."""
        vars(self).update(state)
        self.terms = {name: torch.tensor(float("nan") if value is None else value)
                      for name, value in state["terms"].items()}

    def row(self, progress: Progress, lr: float) -> dict[str, Any]:
        """Means over the window."""
        terms = {name: value.item() / self.steps for name, value in self.terms.items()}
        return {"stage": progress.stage, "loss": terms.pop(LOSS), "terms": terms, "lr": lr,
                "seconds_per_step": self.seconds / self.steps, "data_wait_share": self.wait_s / self.seconds,
                "patches_per_second": self.patches / self.seconds, "peak_memory_mb": peak_memory_mb()}


def say(text: str) -> None:
    """A line for the person who watches."""
    sys.stderr.write(text + "\n")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return finite_or_none(value) if isinstance(value, float) else value


def _flatten(row: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for key, value in row.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            pairs.append((prefix + key, float(value)))
    return pairs
