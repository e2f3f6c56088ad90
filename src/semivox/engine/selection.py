"""The best weights of a stage by its validation cases, for methods whose next stage starts from them.

Nothing that is deployed is chosen here: the last stage always ends with its last step.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semivox.engine.checkpoint import Snapshot, load_into, load_latest, save_checkpoint
from semivox.engine.optim import load_optimizer_tensors, optimizer_tensors
from semivox.types import Progress

if TYPE_CHECKING:
    from semivox.engine.loop import Training


def picks(training: Training, progress: Progress) -> bool:
    """Whether the stage after this one starts from this one's best weights."""
    return any(stage.name == progress.stage and stage.pick == "best_validation"
               for stage in training.config.engine.stages)


def ends_stage(progress: Progress) -> bool:
    """Whether a step is the last one of its stage."""
    return progress.step + 1 == progress.total


def keep_best(training: Training, progress: Progress, scores: dict[str, Any]) -> None:
    """Keep the weights and the optimizer's state when no earlier step of the stage had a higher mean Dice."""
    dice = scores["dice"] or 0.0
    best = training.best
    if best and best["stage"] == progress.stage and best["dice"] >= dice:
        return
    training.best = {"stage": progress.stage, "dice": dice}
    save_checkpoint(folder(training), training.step, Snapshot(tensors_of(training), {"step": training.step}))


def start_from_best(training: Training) -> None:
    """Put the stage's best weights, with the optimizer's state of that step, into the method."""
    training.fabric.barrier()  # the first process has written them
    snapshot, _ = load_latest(folder(training))
    load_tensors(training, snapshot.tensors)


def folder(training: Training) -> Path:
    """Where the best weights of a stage are kept."""
    return training.run.path / "best"


def tensors_of(training: Training) -> dict[str, Any]:
    """Weights, memories and optimizer states by group, as a checkpoint holds them."""
    groups = {f"optimizer-{turn}": optimizer_tensors(optimizer.optimizer)
              for turn, optimizer in training.optimizers.items()}
    return {**groups, "method": training.method.state_dict()}


def load_tensors(training: Training, tensors: dict[str, Any]) -> None:
    """Put back what ``tensors_of`` gave.

    Raises:
        KeyError: a group is missing.
        CheckpointError: weights do not match the method.
    """
    load_into(training.method, tensors["method"], "checkpoint")
    for turn, optimizer in training.optimizers.items():
        load_optimizer_tensors(optimizer.optimizer, tensors[f"optimizer-{turn}"])
