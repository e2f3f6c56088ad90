"""Load what a finished run deploys."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import nn

from semivox.config import RunConfig
from semivox.engine.build import build_method, memory_format, to_memory_format
from semivox.engine.checkpoint import load_into
from semivox.engine.rundir import RunDirectory
from semivox.engine.weights import BEST, LAST, best_of, file_of, read_weights, require_weights, weights_kept
from semivox.errors import CheckpointError
from semivox.fsio import read_json
from semivox.imaging.plan import Plan


class Deployed(NamedTuple):
    """A trained predictor with what it was trained under."""

    network: nn.Module
    """Images (B, C, *space) to probabilities (B, K, *space), in evaluation mode."""
    plan: Plan
    config: RunConfig
    precision: str
    """``"fp32"`` or ``"bf16"``, as trained."""
    weights: str
    """Which weights, for people: ``"last"``, ``"best_validation (step 500)"`` or ``"step_500"``."""


def load_deployed(path: Path | str, weights: str = LAST) -> Deployed:
    """The predictor of a finished run.

    Args:
        path: run directory.
        weights: ``"last"``, ``"best_validation"`` or ``"step_<n>"``: see ``semivox.engine.weights``.

    Raises:
        UsageError: when ``path`` is not a run directory, or these weights are not there.
        CheckpointError: when the run is not finished, or its weights are damaged.
    """
    run = RunDirectory(Path(path))
    file_of(run, weights)  # a misspelled name is told before the run is looked at
    config, plan = run.read_config(), run.read_plan()
    if not run.finished():
        raise CheckpointError("K3", run.path, "the run is not finished (no weights.safetensors)",
                              f"continue it with `semivox resume {run.path}`")
    file = require_weights(run, weights)
    origin = read_json(run.run)
    method = build_method(config, plan, len(origin["split"]["labeled"]))
    predictor = method.predictor()
    load_into(predictor, read_weights(file), str(file))
    to_memory_format(predictor, memory_format(config.engine, plan.dimensions), plan.dimensions)
    return Deployed(predictor.eval(), plan, config, config.engine.precision, _in_words(run, weights))


def available_weights(path: Path | str) -> list[str]:
    """The names that ``load_deployed`` takes for a run: ``last`` when it is finished, then what it keeps besides."""
    return weights_kept(RunDirectory(Path(path)))


def _in_words(run: RunDirectory, weights: str) -> str:
    best = best_of(run) if weights == BEST else None
    return f"{weights} (step {best.step})" if best else weights
