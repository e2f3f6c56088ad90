"""Files of deployed weights: those of a run's last step, and those that it keeps beside them.

Each holds the state dictionary of the method's predictor. ``last`` is what a finished run deploys. ``best_validation``
is the step of the last stage with the highest mean Dice on the validation cases, and ``step_<n>`` is one of those that
``engine.keep_weights_every`` asks for: both are for comparison, and are used only when they are named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from semivox.engine.rundir import RunDirectory
from semivox.errors import CheckpointError, UsageError
from semivox.fsio import atomic_file
from semivox.wording import first_names

LAST, BEST, STEP = "last", "best_validation", "step_"
NAMES_SHOWN = 30

Tensors = dict[str, torch.Tensor]


class Best(NamedTuple):
    """Where the validation cases were segmented best."""

    step: int
    """Steps done then."""
    dice: float | None
    """Mean Dice in percent of the validation cases; None where no case has the class or is given it."""


def tensors_of_predictor(predictor: torch.nn.Module) -> Tensors:
    """A copy of its weights on the CPU, in plain memory format."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in predictor.state_dict().items()}


def write_weights(path: Path, tensors: Tensors, note: Mapping[str, Any] | None = None) -> None:
    """Write deployed weights, whole or not at all; ``note`` goes into the file's header as JSON."""
    # one key: the order of several would differ from file to file
    metadata = {"semivox": json.dumps(note, sort_keys=True)} if note is not None else None
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_weights(path: Path) -> Tensors:
    """The tensors of a file.

    Raises:
        CheckpointError: K5, when it is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from None


def best_of(run: RunDirectory) -> Best | None:
    """Step and Dice of the weights that are best on the validation cases, None where a run keeps none.

    Raises:
        CheckpointError: K5, when the file is damaged.
    """
    path = run.weights_best_validation
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return Best(**json.loads(file.metadata()["semivox"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _damaged(path, error) from None


def weights_kept(run: RunDirectory) -> list[str]:
    """Names of the weights that are there: ``last``, ``best_validation``, then ``step_<n>`` by number."""
    names = [name for name in (LAST, BEST) if file_of(run, name).is_file()]
    steps = sorted(int(path.stem.removeprefix(STEP)) for path in run.weights_steps.glob(f"{STEP}[0-9]*.safetensors"))
    return [*names, *(f"{STEP}{step}" for step in steps)]


def file_of(run: RunDirectory, name: str) -> Path:
    """Where the weights of a name are, if they are.

    Raises:
        UsageError: C2, for what is no such name.
    """
    if name == LAST:
        return run.weights
    if name == BEST:
        return run.weights_best_validation
    if not (step := re.fullmatch(rf"{STEP}([0-9]{{1,12}})", name)):
        raise UsageError("C2", "--weights", f"found {name!r}",
                         f"legal values: {LAST}, {BEST}, and {STEP}N such as {STEP}500")
    return run.weights_of_step(int(step[1]))


def require_weights(run: RunDirectory, name: str) -> Path:
    """The file of the weights of a name.

    Raises:
        UsageError: C2, they are not there; names those that are, and when a run keeps the others.
    """
    path = file_of(run, name)
    if not path.is_file():
        raise UsageError("C2", "--weights", f"{name} is not in {run.path}, there is "
                         f"{first_names(weights_kept(run), NAMES_SHOWN)}",
                         f"name one of these; a run keeps {BEST} with --validation N, "
                         f"and {STEP}N with engine.keep_weights_every")
    return path


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError("K5", path, f"not a complete safetensors file: {error}", "restore it, or train again")
