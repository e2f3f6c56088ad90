"""Start a run, or continue one: everything between the command line and the loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from semivox.config import RunConfig
from semivox.data.augment import Augmentation
from semivox.data.loading import Order, build_loader
from semivox.data.splits import Split, choose_split, split_from_json, split_to_json
from semivox.data.store import Store
from semivox.engine.build import (
    as_started,
    build_fabric,
    build_method,
    compile_networks,
    memory_format,
    plan_of_run,
    to_memory_format,
)
from semivox.engine.checkpoint import Snapshot, load_latest
from semivox.engine.disk import reserve_disk
from semivox.engine.environment import describe_environment, peak_memory_mb
from semivox.engine.footprint import reserve_memory
from semivox.engine.live import LivePicture
from semivox.engine.logs import MetricsLog, say
from semivox.engine.loop import Training, fit, restore, save
from semivox.engine.optim import build_optimizer
from semivox.engine.rundir import (
    RunDirectory,
    create_run,
    lock_run,
    refuse_existing,
    remove_leftovers,
    require_same_store,
)
from semivox.engine.stopping import StopRequest, stop_on_signals
from semivox.engine.validation import Validator
from semivox.engine.weights import tensors_of_predictor, write_weights
from semivox.errors import CheckpointError, DivergedError, StoppedError
from semivox.fsio import read_json, write_json
from semivox.imaging.plan import Plan
from semivox.inference.precision import resolve_device, resolve_precision
from semivox.inference.sliding import Execution
from semivox.inference.windows import Window
from semivox.methods import get_method
from semivox.seeding import seed_torch


def start_run(store: Store, path: Path, config: RunConfig) -> RunDirectory:
    """Train a new run to its end.

    Args:
        store: the prepared dataset.
        path: run directory; must not exist or be empty.
        config: resolved configuration.

    Returns:
        The finished run.
    """
    if is_first_process():
        refuse_existing(path)
    split = choose_split(store, labeled=config.data.labeled, draw=config.data.labeled_draw,
                         validation=config.data.validation)
    config = replace(config, engine=replace(as_started(config.engine),
                                            precision=precision_of(config)))  # type: ignore[arg-type]
    fabric = launch(config)
    refuse_impossible(fabric, store, split=split, config=config)
    reserve(fabric, store, path, split=split, config=config)
    origin = {"store": str(store.path.resolve()), "store_digest": store.digest, "name": store.name,
              "split": split_to_json(split)}
    plan = plan_of_run(store.plan, config)
    run = create_run(path, config, plan, origin) if fabric.is_global_zero else RunDirectory(path)
    fabric.barrier()
    with working_on(run, fabric):
        train(fabric, run, store, split=split, snapshot=None)
    return run


def resume_run(path: Path, store_path: Path | None = None) -> bool:
    """Continue a stopped run to its end.

    Args:
        path: run directory.
        store_path: where the store is now, if it was moved.

    Returns:
        False when the run was finished before; nothing is touched then.

    Raises:
        CheckpointError: no usable checkpoint, or the store has changed.
    """
    run = RunDirectory(path)
    config = run.read_config()
    if run.finished():
        return False
    store = open_store(store_path or Path(read_json(run.run)["store"]))
    origin = require_same_store(run, store.digest)
    split = split_from_json(origin["split"], run.run)
    if as_started(config.engine) != config.engine:
        raise CheckpointError("T25", path, f"the run has {config.engine.devices * config.engine.nodes} processes, "
                              "torchrun started another number", "start as many as the run began with")
    fabric = launch(config)
    with working_on(run, fabric):
        snapshot, passed_over = load_latest(run.checkpoints)
        if fabric.is_global_zero:
            remove_leftovers(run)
            for line in passed_over:
                say(f"WARNING SVX-K1  {line}.")
        # results depend on the number of threads: go on with the number that the run was started with
        torch.set_num_threads(read_json(run.environment)["threads"])
        reserve(fabric, store, path, split=split, config=config)
        train(fabric, run, store, split=split, snapshot=snapshot)
    return True


def open_store(path: Path) -> Store:
    """The store of a run to be resumed.

    Raises:
        CheckpointError: when it is no longer there.
    """
    if not path.is_dir():
        raise CheckpointError("K9", path, "the store of this run is not there", "name its folder with --store")
    return Store.open(path)


def launch(config: RunConfig) -> Fabric:
    """Start the processes of a run and set its number of threads."""
    fabric = build_fabric(config.engine, turns=len(get_method(config.method.name).turns))
    fabric.launch()
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    return fabric


def is_first_process() -> bool:
    """Whether this is the process that the user started (or the first of torchrun, SLURM or several nodes)."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"))


def refuse_impossible(fabric: Fabric, store: Store, *, split: Split, config: RunConfig) -> None:
    """Build once what a run is made of, so that what cannot work is refused before anything is written."""
    build_method(config, store.plan, len(split.labeled))
    loader_for(store, split, config, fabric=fabric, step=0)
    if split.validation:
        validator_for(store, split, config, plan=plan_of_run(store.plan, config))


def reserve(fabric: Fabric, store: Store, path: Path, *, split: Split, config: RunConfig) -> None:
    """Estimate the run's disk and memory, refuse what will not fit, say so otherwise."""
    method = build_method(config, store.plan, len(split.labeled))
    disk = reserve_disk(fabric, path, method, config)
    memory = reserve_memory(fabric, method, config, precision_of(config))
    if fabric.is_global_zero:
        say(f"Memory: {memory}.\nDisk: {disk}.")


@contextmanager
def working_on(run: RunDirectory, fabric: Fabric) -> Iterator[None]:
    """Hold the run's lock. Of several processes the first does, and it alone reports why the run ended early."""
    if fabric.is_global_zero:
        with lock_run(run):
            yield
    else:
        with suppress(StoppedError, DivergedError):
            yield


def train(fabric: Fabric, run: RunDirectory, store: Store, *, split: Split, snapshot: Snapshot | None) -> None:
    """Assemble the parts, run the loop, write the deployed weights."""
    precision = precision_of(run.read_config())
    with stop_on_signals() as stop:
        training = assemble(fabric, run, store, split=split, stop=stop, snapshot=snapshot)
        with closing(training.log) if training.log else nullcontext():
            if fabric.is_global_zero:
                write_json(run.environment, describe_environment(precision=precision, world_size=fabric.world_size))
                say(f"{training.config.method.name}: {len(split.labeled)} labeled and {len(split.unlabeled)} unlabeled "
                    f"cases, steps {training.step} to {training.config.engine.steps}, {precision} on {fabric.device}")
            if snapshot is None:
                save(training)
            fit(training)
            if training.picture:
                training.picture.finish()
        if fabric.is_global_zero:
            write_weights(run.weights, tensors_of_predictor(training.method.predictor()))
            say(f"Peak memory {peak_memory_mb() * 2**20 / 1e9:.1f} GB.")
        fabric.barrier()


def assemble(fabric: Fabric, run: RunDirectory, store: Store, *, split: Split, stop: StopRequest,
             snapshot: Snapshot | None) -> Training:
    """Build method, optimizers, loader, validator and log, and restore a snapshot into them."""
    config, plan = run.read_config(), run.read_plan()
    seed_torch(config.seed, "init")
    method = build_method(config, plan, len(split.labeled))
    layout = memory_format(config.engine, plan.dimensions)
    to_memory_format(method, layout, plan.dimensions)
    optimizers = [build_optimizer(method.parameters_for(turn), config.optimizer) for turn in method.turns]
    if config.engine.compile:
        compile_networks(method)
    forward, *wrapped = fabric.setup(method, *optimizers)
    state: dict[str, Any] = snapshot.state if snapshot else {"step": 0, "metrics_bytes": 0}
    first = fabric.is_global_zero
    log = None
    if first:
        log = MetricsLog(run.metrics, run.tensorboard, position=state["metrics_bytes"], first_step=state["step"])
    training = Training(
        run=run, config=config, fabric=fabric, method=method, forward=forward,
        optimizers=dict(zip(method.turns, wrapped, strict=True)), case_names=(*split.labeled, *split.unlabeled),
        loader=loader_for(store, split, config, fabric=fabric, step=state["step"]), layout=layout, stop=stop,
        validator=validator_for(store, split, config, plan=plan) if first and split.validation else None,
        log=log, picture=LivePicture(run, config, done=state["step"]) if first else None)
    if snapshot:
        restore(training, snapshot)
    return training


def loader_for(store: Store, split: Split, config: RunConfig, *, fabric: Fabric,
               step: int) -> torch.utils.data.DataLoader:
    """The loader of the batches that are still to come."""
    data, engine = config.data, config.engine
    first, last = step * engine.accumulate, engine.steps * engine.accumulate
    order = Order(config.seed, data.labeled_per_batch, data.unlabeled_per_batch, range(first, last),
                  fabric.global_rank, fabric.world_size)
    x, y, z = data.patch_size
    how = Augmentation((x, y, z), store.plan.dimensions, data.augmentation, data.foreground_fraction, data.intensity)
    return build_loader(store, split, order, how=how, workers=data.workers)


def validator_for(store: Store, split: Split, config: RunConfig, *, plan: Plan) -> Validator:
    """The validator of a run, with the sliding window and the intensities of its plan."""
    device = resolve_device(config.engine.accelerator)
    execution = Execution(precision=precision_of(config), device=device)
    return Validator(store, split.validation, Window.from_plan(plan), execution, plan.intensity)


def precision_of(config: RunConfig) -> str:
    """The precision that the run computes in, ``auto`` resolved for this machine."""
    return resolve_precision(config.engine.precision, resolve_device(config.engine.accelerator))
