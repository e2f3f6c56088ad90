"""The stop before a number that is not finite does harm: no such loss reaches the weights, no such weight is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from semivox.errors import DivergedError
from semivox.types import Batch, Progress, StepOutput

if TYPE_CHECKING:
    from semivox.engine.loop import Training


def require_finite(training: Training, output: StepOutput, batch: Batch, progress: Progress) -> None:
    """Stop before a loss that is not finite reaches the weights.

    Raises:
        DivergedError: names step, terms and cases; the same on all processes when it happens on one of them.
    """
    finite = bool(torch.isfinite(output.loss))
    if training.fabric.world_size > 1:
        finite = training.fabric.strategy.reduce_boolean_decision(finite, all=True)
    if finite:
        return
    mine = [int(torch.isfinite(value).all()) for value in (output.loss, *output.terms.values())]
    flags = of_all_processes(training, torch.tensor(mine, device=batch.case.device))
    at_fault = of_all_processes(training, batch.case)[flags[:, 0] == 0]
    bad = [name for name, good in zip(output.terms, flags[:, 1:].T, strict=True) if not good.all()] or ["loss"]
    cases = ", ".join(dict.fromkeys(training.case_names[index] for index in at_fault.flatten().tolist()))
    raise DivergedError("T9", training.run.path, f"{', '.join(bad)} is not finite at step {progress.run_step} "
                        f"(cases {cases}); the last good checkpoint is kept",
                        "lower optimizer.lr or set optimizer.clip_norm=1 in a new run, or look at these cases")


def require_finite_weights(training: Training) -> None:
    """Stop when a weight is not finite, though the loss was; all processes have the same weights.

    Raises:
        DivergedError: names step and weights.
    """
    bad = [name for name, value in training.method.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise DivergedError("T9", training.run.path, f"weights are not finite after step {training.step} "
                            f"({', '.join(bad[:3])}); the last good checkpoint is kept",
                            "lower optimizer.lr or set optimizer.clip_norm=1 in a new run")


def of_all_processes(training: Training, values: torch.Tensor) -> torch.Tensor:
    """One row of values (n,) from each process: (processes, n)."""
    gathered = cast(torch.Tensor, training.fabric.all_gather(values))
    return gathered.reshape(-1, len(values))
