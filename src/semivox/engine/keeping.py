"""What a run keeps beside the weights of its last step, and how it survives a stop. Training never reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from semivox.engine.checkpoint import Snapshot
from semivox.engine.finite import require_finite_weights
from semivox.engine.weights import BEST, Best, Tensors, tensors_of_predictor, write_weights
from semivox.types import Progress

if TYPE_CHECKING:
    from semivox.engine.loop import Training


class Kept(NamedTuple):
    """The best weights so far. They are part of every checkpoint: the file may be of steps that a kill undid."""

    best: Best
    tensors: Tensors


def keep_best_on_validation(training: Training, progress: Progress, scores: dict[str, Any]) -> None:
    """Keep the deployed weights when no earlier step of the last stage had as high a mean Dice."""
    in_last_stage = progress.run_step - progress.step + progress.total == progress.run_total
    if in_last_stage and _is_better(scores["dice"], training.kept):
        training.kept = Kept(Best(training.step, scores["dice"]), tensors_of_predictor(training.method.predictor()))
        _write_best(training, training.kept)


def keep_step(training: Training) -> None:
    """Keep the deployed weights of a step that ``engine.keep_weights_every`` names; again after a resume is the same.

    Raises:
        DivergedError: when a weight is not finite: such weights are never kept.
    """
    every = training.config.engine.keep_weights_every
    if not every or training.step % every:
        return
    require_finite_weights(training)
    if training.fabric.is_global_zero:
        write_weights(training.run.weights_of_step(training.step), tensors_of_predictor(training.method.predictor()))


def part_of_checkpoint(training: Training) -> Snapshot:
    """What a checkpoint holds of the best weights."""
    kept = training.kept
    return Snapshot({BEST: kept.tensors}, {BEST: kept.best._asdict()}) if kept else Snapshot({}, {BEST: None})


def restore_kept(training: Training, snapshot: Snapshot) -> None:
    """Take the best weights of a checkpoint up again and write their file as it was then; the first process does.

    Raises:
        KeyError: the checkpoint names weights that it does not hold.
    """
    if not training.fabric.is_global_zero:
        return
    if best := snapshot.state.get(BEST):
        training.kept = Kept(Best(**best), snapshot.tensors[BEST])
        _write_best(training, training.kept)
    else:
        training.run.weights_best_validation.unlink(missing_ok=True)


def _is_better(dice: float | None, kept: Kept | None) -> bool:
    """Whether a Dice is above that of the weights kept so far; one that is not defined is below all others."""
    if kept is None:
        return True
    return dice is not None and (kept.best.dice is None or dice > kept.best.dice)


def _write_best(training: Training, kept: Kept) -> None:
    write_weights(training.run.weights_best_validation, kept.tensors, kept.best._asdict())
