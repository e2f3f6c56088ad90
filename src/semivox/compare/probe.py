"""What runs will cost, tried out: memory of a step and seconds for one, in a process of its own.

``python -m semivox.compare.probe`` reads ``{"store", "runs": [{"wishes", "timed"}]}`` from stdin and writes one line of
JSON for each entry: ``{"memory", "gpu_memory", "gpu_free", "seconds_per_step"}`` in bytes and seconds, null where it is
not known.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from semivox.compare.stop import end_with_driver
from semivox.config import RunConfig, StageConfig
from semivox.data.splits import choose_split
from semivox.data.store import Store
from semivox.engine.build import build_method, memory_format, to_memory_format
from semivox.engine.footprint import Footprint, footprint, noise_batch
from semivox.engine.optim import build_optimizer
from semivox.engine.train import precision_of
from semivox.inference.precision import autocast, resolve_device
from semivox.memory import available_memory_bytes, keep_freed_memory, peak_memory_mb
from semivox.methods.base import Method
from semivox.recipes import resolve
from semivox.seeding import seed_torch
from semivox.types import Progress

LONG_STEP_S = 3.0
"""After a step that takes longer a second one is not timed."""


def main() -> None:
    """Answer each entry with a line."""
    end_with_driver()
    asked = json.loads(sys.stdin.read())
    store = Store.read(asked["store"])
    own, threads = int(peak_memory_mb() * 2**20), torch.get_num_threads()
    for run in asked["runs"]:
        torch.set_num_threads(run["wishes"].get("engine", {}).get("threads") or threads)
        sys.stdout.write(json.dumps(measure(store, run["wishes"], own=own, timed=run["timed"])) + "\n")
        sys.stdout.flush()


def measure(store: Store, wishes: dict[str, Any], *, own: int, timed: bool) -> dict[str, float | None]:
    """Memory and speed of one kind of run.

    Args:
        store: gives plan and split.
        wishes: nested part of a configuration.
        own: bytes that a process has before it builds anything.
        timed: whether to time steps.
    """
    config = resolve(store.plan, wishes)
    data = config.data
    split = choose_split(store, labeled=data.labeled, draw=data.labeled_draw, validation=data.validation)
    device = resolve_device(config.engine.accelerator)
    answer: dict[str, float | None] = dict.fromkeys(("memory", "gpu_memory", "gpu_free", "seconds_per_step"))
    try:
        needed: Footprint | None = footprint(build_method(config, store.plan, len(split.labeled)), config,
                                             precision_of(config))
    except Exception:  # of a method or network that takes no other patch: the run itself will say what is wrong
        needed = None
    free = available_memory_bytes()
    if needed and device.type == "cuda":
        answer |= {"memory": own + needed.loading, "gpu_memory": needed.state + needed.step,
                   "gpu_free": torch.cuda.mem_get_info(device)[0]}
        free = int(answer["gpu_free"] or 0)
    elif needed:
        answer["memory"] = own + needed.total
    if timed and needed and free and needed.total < free:
        answer["seconds_per_step"] = seconds_per_step(store, config, len(split.labeled), device)
    return answer


def seconds_per_step(store: Store, config: RunConfig, labeled_cases: int, device: torch.device) -> float:
    """Seconds of an optimizer step on noise of the run's own patch: the mean over its stages, by their length."""
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    method = build_method(config, store.plan, labeled_cases)
    to_memory_format(method, memory_format(config.engine, store.plan.dimensions), store.plan.dimensions)
    method.to(device)
    optimizers = {turn: build_optimizer(method.parameters_for(turn), config.optimizer) for turn in method.turns}
    total = 0.0
    for stage in config.engine.stages:
        _step(method, config, optimizers, stage=stage)  # the first one of a process also loads and allocates
        timings = [_step(method, config, optimizers, stage=stage)]
        if timings[0] < LONG_STEP_S:
            timings.append(_step(method, config, optimizers, stage=stage))
        total += sum(timings) / len(timings) * stage.steps
    return total * config.engine.accumulate / config.engine.steps


def _step(method: Method, config: RunConfig, optimizers: dict[str, torch.optim.Optimizer], *, stage: StageConfig
          ) -> float:
    """Seconds of the last step of a stage, when all ramps are up."""
    precision = precision_of(config)
    device = next(method.parameters()).device
    layout = memory_format(config.engine, method.task.dimensions)
    batch = noise_batch(method, config, config.data.patch_size[: method.task.dimensions])
    batch = batch._replace(image=batch.image.to(device).contiguous(memory_format=layout), label=batch.label.to(device),
                           case=batch.case.to(device))
    progress = Progress(stage.name, stage.steps - 1, stage.steps, config.engine.steps - 1, config.engine.steps)
    _wait(device)
    started = time.perf_counter()
    for turn, optimizer in optimizers.items():
        optimizer.zero_grad(set_to_none=True)
        seed_torch(config.seed, "probe", turn)
        with autocast(precision, device):
            loss = method(batch, progress, turn).loss
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        method.after_step(progress)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
