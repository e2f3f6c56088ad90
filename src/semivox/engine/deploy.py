"""Load what a finished run deploys."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from semivox.config import RunConfig
from semivox.engine.build import build_method, memory_format, to_memory_format
from semivox.engine.checkpoint import load_into
from semivox.engine.rundir import RunDirectory
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


def load_deployed(path: Path | str) -> Deployed:
    """The predictor of a finished run.

    Raises:
        UsageError: when ``path`` is not a run directory.
        CheckpointError: when the run is not finished, or its weights are damaged.
    """
    run = RunDirectory(Path(path))
    config, plan = run.read_config(), run.read_plan()
    if not run.finished():
        raise CheckpointError("K3", run.path, "the run is not finished (no weights.safetensors)",
                              f"continue it with `semivox resume {run.path}`")
    origin = read_json(run.run)
    method = build_method(config, plan, len(origin["split"]["labeled"]))
    predictor = method.predictor()
    try:
        tensors = load_file(run.weights)
    except SafetensorError as error:
        raise CheckpointError("K5", run.weights, f"not a complete safetensors file: {error}",
                              "restore it, or train again") from None
    load_into(predictor, tensors, str(run.weights))
    to_memory_format(predictor, memory_format(config.engine, plan.dimensions), plan.dimensions)
    return Deployed(predictor.eval(), plan, config, config.engine.precision)
