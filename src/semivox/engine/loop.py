"""The training loop, all of it. A step: draw, forward, backward, update, housekeeping, log, save."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule, _FabricOptimizer

from semivox.config import RunConfig
from semivox.data.loading import batches
from semivox.engine.checkpoint import Snapshot, save_checkpoint
from semivox.engine.finite import require_finite, require_finite_weights
from semivox.engine.keeping import (
    Kept,
    keep_best_on_validation,
    keep_step,
    part_of_checkpoint,
    restore_kept,
)
from semivox.engine.live import LivePicture
from semivox.engine.logs import MetricsLog, Window
from semivox.engine.optim import learning_rate, set_learning_rate
from semivox.engine.rundir import RunDirectory
from semivox.engine.selection import ends_stage, keep_best, load_tensors, picks, start_from_best, tensors_of
from semivox.engine.stopping import StopRequest
from semivox.engine.validation import Validator
from semivox.errors import CheckpointError, ResourceError, StoppedError
from semivox.methods.base import Method
from semivox.progress import Bar, track
from semivox.seeding import seed_torch
from semivox.types import Batch, Progress, StepOutput


@dataclass(kw_only=True)
class Training:
    """Everything that the loop works with. ``step`` is the only thing that changes hands by value."""

    run: RunDirectory
    config: RunConfig
    fabric: Fabric
    method: Method
    forward: _FabricModule
    optimizers: dict[str, _FabricOptimizer]
    case_names: tuple[str, ...]
    loader: torch.utils.data.DataLoader
    layout: torch.memory_format
    stop: StopRequest
    validator: Validator | None
    log: MetricsLog | None
    picture: LivePicture | None = None
    step: int = 0
    best: dict[str, Any] | None = None
    kept: Kept | None = None
    window: Window = field(default_factory=Window)


def fit(training: Training) -> None:
    """Train from ``training.step`` to the end of the run, saving and logging on the way.

    Raises:
        DivergedError: the loss is not finite; the last good checkpoint stays.
        StoppedError: a signal asked to stop; the run is saved and can be resumed.
    """
    engine, fabric = training.config.engine, training.fabric
    stream = batches(training.loader)
    with track("Training", total=engine.steps, unit="step", done=training.step, visible=fabric.is_global_zero) as bar:
        while training.step < engine.steps:
            progress = progress_at(training.config, training.step)
            try:
                train_step(training, stream, progress)
            except ResourceError:
                # a signal to the whole process group ends the loader's workers too
                if not training.stop or fabric.world_size > 1:
                    raise
            else:
                training.step += 1
                report(training, progress, bar)
            stopping = training.step < engine.steps and agree_to_stop(training)
            if stopping or training.step % engine.save_every == 0 or training.step == engine.steps:
                save(training)
            if stopping:
                raise StoppedError("T15", training.run.path, f"stopped by {training.stop.signal_name or 'a signal'} "
                                   f"after step {training.step} of {engine.steps}, everything is saved",
                                   f"continue with `semivox resume {training.run.path}`")
    fabric.barrier()


def train_step(training: Training, stream: Iterator[tuple[Batch, float]], progress: Progress) -> None:
    """One optimizer step of every turn, and the method's housekeeping."""
    started = time.perf_counter()
    drawn = [next(stream) for _ in range(training.config.engine.accumulate)]
    parts = [to_device(training, batch) for batch, _ in drawn]
    for turn in training.method.turns:
        take_turn(training, parts, progress, turn)
    with torch.no_grad():
        training.method.after_step(progress)
        if ends_stage(progress):
            training.method.after_stage(progress.stage)
    training.window.add_step(seconds=time.perf_counter() - started, wait_s=sum(wait_s for _, wait_s in drawn),
                             patches=sum(len(batch.case) for batch in parts) * training.fabric.world_size)


def take_turn(training: Training, parts: list[Batch], progress: Progress, turn: str) -> None:
    """Forward and backward of each batch, then one update of the turn's optimizer."""
    config, fabric, optimizer = training.config, training.fabric, training.optimizers[turn]
    for other in training.optimizers.values():
        other.zero_grad(set_to_none=True)
    for index, batch in enumerate(parts):
        seed_torch(config.seed, "forward", progress.run_step, fabric.global_rank, turn, index)
        with fabric.no_backward_sync(training.forward, enabled=index + 1 < len(parts)):
            output: StepOutput = training.forward(batch, progress, turn)
            require_finite(training, output, batch, progress)
            fabric.backward(output.loss / len(parts))
        prefix = f"{turn}/" if len(training.method.turns) > 1 else ""
        training.window.add_output(output, share=1 / len(parts), prefix=prefix)
    set_learning_rate(optimizer.optimizer, learning_rate(config, progress))
    if config.optimizer.clip_norm:
        fabric.clip_gradients(training.forward, optimizer, max_norm=config.optimizer.clip_norm,
                              error_if_nonfinite=False)
    optimizer.step()


def progress_at(config: RunConfig, run_step: int) -> Progress:
    """Stage, step within the stage and step within the run of a run's step."""
    start = 0
    for stage in config.engine.stages:
        if run_step < start + stage.steps:
            return Progress(stage.name, run_step - start, stage.steps, run_step, config.engine.steps)
        start += stage.steps
    raise IndexError(f"step {run_step} is beyond the run's {config.engine.steps} steps")


def to_device(training: Training, batch: Batch) -> Batch:
    """Move a batch, images in the networks' memory format."""
    moved: Batch = training.fabric.to_device(batch)
    return moved._replace(image=moved.image.contiguous(memory_format=training.layout))


def report(training: Training, progress: Progress, bar: Bar) -> None:
    """Progress bar every step; a row of metrics and a validation when they are due."""
    engine = training.config.engine
    bar.advance()
    last = training.step == engine.steps
    if training.step % engine.log_every == 0 or last:
        row = training.window.row(progress, learning_rate(training.config, progress))
        training.window = Window()
        if training.log:
            training.log.write(training.step, row)
        bar.note(f"loss {row['loss']:.4f}")
    picked = picks(training, progress)
    due = training.step % engine.validate_every == 0 or last or (picked and ends_stage(progress))
    validated = bool(training.config.data.validation) and due
    if validated:
        validate(training, progress)
    keep_step(training)
    if picked and ends_stage(progress):
        start_from_best(training)
    if training.picture:
        training.picture.show(training.step, validated=validated)


def validate(training: Training, progress: Progress) -> None:
    """Score the validation cases in the first process, and keep the weights that are best so far.

    Raises:
        DivergedError: when a weight is not finite.
    """
    require_finite_weights(training)
    if training.validator and training.log:
        scores = training.validator.score(training.method.predictor(), training.method.observed())
        training.log.write(training.step, {"validation": scores})
        keep_best_on_validation(training, progress, scores)
        if picks(training, progress):
            keep_best(training, progress, scores)


def agree_to_stop(training: Training) -> bool:
    """Whether any process was asked to stop; all of them then stop at the same step."""
    asked = bool(training.stop)
    if training.fabric.world_size == 1:
        return asked
    return bool(training.fabric.strategy.reduce_boolean_decision(asked, all=False))


def save(training: Training) -> None:
    """Write a checkpoint from the first process.

    Raises:
        DivergedError: when a weight is not finite: such a state is never saved.
    """
    require_finite_weights(training)
    if training.fabric.is_global_zero and training.log:
        kept = part_of_checkpoint(training)
        state = {"step": training.step, "metrics_bytes": training.log.commit(), "window": training.window.state(),
                 "best": training.best, **kept.state}
        snapshot = Snapshot({**tensors_of(training), **kept.tensors}, state)
        save_checkpoint(training.run.checkpoints, training.step, snapshot)
    training.fabric.barrier()


def restore(training: Training, snapshot: Snapshot) -> None:
    """Put a checkpoint into the method and its optimizers.

    Raises:
        CheckpointError: a part is missing: nothing starts afresh in silence.
    """
    try:
        load_tensors(training, snapshot.tensors)
        training.best = snapshot.state.get("best")
        training.step = snapshot.state["step"]
        training.window.restore(snapshot.state["window"])
        restore_kept(training, snapshot)
    except KeyError as error:
        raise CheckpointError("K11", training.run.path, f"its checkpoint has no {error}",
                              "resume it with the version of semivox that it was started with") from None
