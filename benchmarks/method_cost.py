"""Cost of a training step of every method: against the bare passes of its networks, and against a supervised step.

    python benchmarks/method_cost.py STORE [--methods caml,cml] [--blocks 7] [--steps 4]

In one process a method, three kinds of steps alternate in blocks, on the same patches of the store, in bf16: the
method's (forward, backward, update, what follows it), the same network passes alone (each network that the method runs,
with as many samples, with or without gradient, a plain loss, update), and a supervised step on as many patches. The
table shows medians, ratios, and the peak memory of the process after the method's steps alone. The steps are those
at 90 % of a run, when everything is switched on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from rows import append
from torch import Tensor, nn

from semivox.data.loading import batches
from semivox.data.splits import choose_split
from semivox.data.store import Store
from semivox.engine.environment import peak_memory_mb, processor_name
from semivox.engine.loop import Training, progress_at, take_turn, to_device
from semivox.engine.rundir import create_run
from semivox.engine.stopping import StopRequest
from semivox.engine.train import assemble, launch
from semivox.losses.supervised import ce_dice
from semivox.methods import METHODS
from semivox.recipes import merge, resolve
from semivox.types import Batch

LABELED, STEPS, BATCHES = 8, 600, 4
RESULTS = Path(__file__).parent / "results" / "method_cost.csv"
COLUMNS = ("processor", "threads", "patch", "method", "patches", "blocks", "steps_per_block", "seconds_per_step",
           "bare_seconds_per_step", "over_bare", "supervised_seconds_per_step", "over_supervised", "peak_memory_mb",
           "memory_over_supervised")


class Pass(NamedTuple):
    """One call of a network within a step."""

    network: nn.Module
    shape: tuple[int, ...]
    with_gradient: bool


def main() -> None:
    """Measure each method in a process of its own, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="steps of a block")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, **json.loads(options.one))))
        return
    for method in options.methods.split(","):
        row = in_own_process(options, method=method, patches=None)
        plain = in_own_process(options, method="supervised", patches=row["patches"], blocks=0)
        row["memory_over_supervised"] = row["peak_memory_mb"] / plain["peak_memory_mb"]
        append(RESULTS, COLUMNS, [row])
        print("{method:13s} {patches} patches: {seconds_per_step:.3f} s/step, bare passes {bare_seconds_per_step:.3f} "
              "(x{over_bare:.3f}), supervised {supervised_seconds_per_step:.3f} (x{over_supervised:.2f}), "
              "{peak_memory_mb:.0f} MB (x{memory_over_supervised:.2f})".format(**row), flush=True)


def in_own_process(options: argparse.Namespace, **what: Any) -> dict[str, Any]:
    """``measure`` in a fresh process, so that its peak memory is its own."""
    words = [sys.executable, __file__, options.store, "--blocks", options.blocks, "--steps", options.steps,
             "--one", json.dumps(what)]
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(options: argparse.Namespace, method: str, patches: int | None, blocks: int | None = None) -> dict[str, Any]:
    """Seconds per step of the three kinds of steps; ``blocks=0`` measures the memory of the first kind alone."""
    blocks = options.blocks if blocks is None else blocks
    store = Store.open(options.store)
    with tempfile.TemporaryDirectory() as folder:
        mine = assembled(store, Path(folder) / "mine", method, patches)
        data = mine.config.data
        patches = data.labeled_per_batch + data.unlabeled_per_batch
        fixed = [batch for batch, _ in zip(drawn(mine), range(BATCHES), strict=False)]
        step = method_step(mine, fixed)
        for _ in range(2 * BATCHES):  # memories fill, optimizers get their state
            step()
        row: dict[str, Any] = {"processor": processor_name(), "threads": torch.get_num_threads(), "method": method,
                               "patch": "x".join(map(str, data.patch_size)), "patches": patches, "blocks": blocks,
                               "steps_per_block": options.steps, "peak_memory_mb": peak_memory_mb()}
        if not blocks:
            return row
        plain = assembled(store, Path(folder) / "plain", "supervised", patches)
        plain_batches = [batch for batch, _ in zip(drawn(plain), range(BATCHES), strict=False)]
        kinds = {"": step, "bare_": bare_step(mine, step), "supervised_": method_step(plain, plain_batches)}
        found = alternate(kinds, blocks, options.steps)
    row |= {f"{name}seconds_per_step": value for name, value in found.items()}
    return row | {"over_bare": found[""] / found["bare_"], "over_supervised": found[""] / found["supervised_"]}


def alternate(kinds: dict[str, Callable[[], None]], blocks: int, steps: int) -> dict[str, float]:
    """Median over blocks of the mean seconds of a step; the kinds take turns, the first block warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for block in range(blocks + 1):
        for name, take_step in kinds.items():
            started = time.perf_counter()
            for _ in range(steps):
                take_step()
            if block:
                seconds[name].append((time.perf_counter() - started) / steps)
    return {name: median(values) for name, values in seconds.items()}


def assembled(store: Store, path: Path, method: str, patches: int | None) -> Training:
    """A run of ``method``, with all patches labeled if their number is given."""
    wishes: dict[str, Any] = {"method": {"name": method}, "data": {"labeled": LABELED, "workers": 0},
                              "engine": {"steps": STEPS, "precision": "bf16"}}
    if patches:
        wishes = merge(wishes, {"data": {"labeled_per_batch": patches, "unlabeled_per_batch": 0}})
    config = resolve(store.plan, wishes)
    run = create_run(path, config, store.plan, {})
    split = choose_split(store, labeled=LABELED)
    return assemble(launch(config), run, store, split=split, stop=StopRequest(), snapshot=None)


def drawn(training: Training) -> Iterator[Batch]:
    """Batches as the step gets them."""
    return (to_device(training, batch) for batch, _ in batches(training.loader))


def method_step(training: Training, fixed: list[Batch]) -> Callable[[], None]:
    """One step of a method at each call."""
    progress = progress_at(training.config, int(0.9 * STEPS))
    count = 0

    def take_step() -> None:
        nonlocal count
        for turn in training.method.turns:
            take_turn(training, [fixed[count % BATCHES]], progress, turn)
        with torch.no_grad():
            training.method.after_step(progress)
        count += 1

    return take_step


def bare_step(training: Training, step: Callable[[], None]) -> Callable[[], None]:
    """The network passes of one step at each call, and nothing else but a plain loss and the update."""
    passes = record_passes(training.method, step)
    classes, optimizers = training.method.task.classes, training.optimizers.values()
    inputs = [torch.randn(each.shape).contiguous(memory_format=training.layout) for each in passes]
    labels = [torch.randint(classes, (each.shape[0], *each.shape[2:])) for each in passes]

    def take_step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        for each, image, label in zip(passes, inputs, labels, strict=True):
            with torch.autocast("cpu", torch.bfloat16), nullcontext() if each.with_gradient else torch.no_grad():
                logits = each.network(image).logits
            if each.with_gradient:
                losses.append(ce_dice(logits, label))
        sum(losses[1:], losses[0]).backward()
        for optimizer in optimizers:
            optimizer.step()

    return take_step


def record_passes(method: nn.Module, step: Callable[[], None]) -> list[Pass]:
    """The calls of the method's networks during one step."""
    found: list[Pass] = []

    def note(network: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        found.append(Pass(network, tuple(inputs[0].shape), torch.is_grad_enabled()))

    networks = [module for module in method.modules() if hasattr(module, "decoder_widths")]
    hooks = [network.register_forward_hook(note) for network in networks]
    step()
    for hook in hooks:
        hook.remove()
    return found


if __name__ == "__main__":
    main()
