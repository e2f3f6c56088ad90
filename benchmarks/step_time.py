"""Seconds per training step: a bare PyTorch loop against the engine, side by side, for the same work.

    python benchmarks/step_time.py STORE [--blocks 5] [--steps 20]

Both train the same V-Net on 4 labeled patches of the store's patch size with Dice + cross-entropy, SGD, bf16 autocast
and channels-last weights. The bare loop holds all scans in memory and cuts its patches itself; the engine reads them
from the store in one worker, and logs. Blocks of steps alternate; the table shows medians and the ratio.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from semivox.data.loading import batches
from semivox.data.splits import choose_split
from semivox.data.store import Store
from semivox.engine.environment import processor_name
from semivox.engine.loop import progress_at, train_step
from semivox.engine.rundir import create_run
from semivox.engine.stopping import StopRequest
from semivox.engine.train import assemble, launch
from semivox.networks.vnet import VNet
from semivox.recipes import resolve

LABELED, PATCHES = 8, 4
RESULTS = Path(__file__).parent / "results" / "step_time.csv"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a block")
    options = parser.parse_args()
    store = Store.open(options.store)
    with tempfile.TemporaryDirectory() as folder:
        loops = {"bare loop": bare_loop(store), "engine": engine_loop(store, Path(folder) / "run", options)}
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for block in range(options.blocks + 1):
            for name, take_step in loops.items():
                elapsed = timed(take_step, options.steps)
                if block:  # the first block warms up
                    seconds[name].append(elapsed)
    found = {name: median(values) for name, values in seconds.items()}
    for name, value in found.items():
        print(f"{name:10s} {value:.3f} s/step  (blocks {', '.join(f'{each:.3f}' for each in seconds[name])})")
    ratio = found["engine"] / found["bare loop"]
    print(f"engine / bare loop = {ratio:.3f}")
    record([processor_name(), torch.get_num_threads(), "x".join(map(str, store.plan.patch_size)), options.blocks,
            options.steps, found["bare loop"], found["engine"], ratio])


def record(row: list[object]) -> None:
    """Append the row of this machine to the results."""
    new = not RESULTS.is_file()
    with open(RESULTS, "a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["processor", "threads", "patch", "blocks", "steps_per_block", "bare_seconds_per_step",
                             "engine_seconds_per_step", "ratio"])
        writer.writerow(row)


def timed(take_step: Callable[[], None], steps: int) -> float:
    """Mean seconds of a step over a block."""
    started = time.perf_counter()
    for _ in range(steps):
        take_step()
    return (time.perf_counter() - started) / steps


def engine_loop(store: Store, path: Path, options: argparse.Namespace) -> Callable[[], None]:
    """One step of the engine at each call."""
    wishes = {"method": {"name": "supervised"}, "data": {"labeled": LABELED, "labeled_per_batch": PATCHES},
              "engine": {"steps": options.steps * (options.blocks + 1), "precision": "bf16"}}
    config = resolve(store.plan, wishes)
    split = choose_split(store, labeled=LABELED)
    run = create_run(path, config, store.plan, {})
    training = assemble(launch(config), run, store, split=split, stop=StopRequest(), snapshot=None)
    stream = batches(training.loader)

    def take_step() -> None:
        train_step(training, stream, progress_at(config, training.step))
        training.step += 1

    return take_step


def bare_loop(store: Store) -> Callable[[], None]:
    """One step of a plain loop at each call."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    scans = [(np.array(store.image(name)[0]), np.array(store.label(name), dtype=np.int64))
             for name in store.train_order[:LABELED]]
    patch = store.plan.patch_size
    network = VNet(1, store.plan.classes).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        image, label = scans[rng.integers(len(scans))]
        turns, axis = rng.integers(4), rng.integers(2)
        image, label = (np.flip(np.rot90(each, turns, (0, 1)), axis) for each in (image, label))
        margins = [(max((p - s) // 2 + 3, 0),) * 2 if s <= p else (0, 0)
                   for s, p in zip(image.shape, patch, strict=True)]
        image, label = np.pad(image, margins), np.pad(label, margins)
        corner = [rng.integers(0, s - p + 1) for s, p in zip(image.shape, patch, strict=True)]
        box = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        return image[box].copy(), label[box].copy()

    def take_step() -> None:
        drawn = [draw() for _ in range(PATCHES)]
        image = torch.from_numpy(np.stack([each for each, _ in drawn]))[:, None]
        label = torch.from_numpy(np.stack([each for _, each in drawn]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image.to(memory_format=torch.channels_last_3d)).logits
        probability, target = logits.softmax(1)[:, 1], (label == 1).float()
        overlap = 2 * (probability * target).sum() + 1e-5
        dice = 1 - overlap / ((probability**2).sum() + target.sum() + 1e-5)
        loss = (functional.cross_entropy(logits, label) + dice) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return take_step


if __name__ == "__main__":
    main()
