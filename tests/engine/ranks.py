"""Train as one of several processes and write down what this one saw and ended with.

Run by ``test_ddp.py``: ``torchrun --nproc_per_node 2 ranks.py STORE OUT METHOD ...``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from run_material import tiny_config

from semivox.data.store import Store
from semivox.engine import loop
from semivox.engine.train import start_run
from semivox.methods import get_method

STEPS = 5


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """One hash of names and values."""
    sha = hashlib.sha256()
    for name, value in tensors.items():
        sha.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()


def train_and_watch(store: Store, method: str, out: Path) -> None:
    """Train ``OUT/<METHOD>`` and write ``OUT/<METHOD>-<RANK>.json``."""
    seen: dict[str, Any] = {"batches": [], "seeds": [], "parameters": []}
    take_turn, train_step = loop.take_turn, loop.train_step

    def record(training: loop.Training, parts: list[Any], progress: Any, turn: str) -> None:
        seen["batches"] += [{"labeled": batch.labeled_count, "images": len(batch.image), "case": batch.case.tolist(),
                             "content": digest({"image": batch.image})} for batch in parts]
        take_turn(training, parts, progress, turn)
        seen["seeds"].append(torch.initial_seed())

    def step(training: loop.Training, *arguments: Any) -> None:
        if not seen["parameters"]:
            seen["parameters"].append(digest(dict(training.method.named_parameters())))
        train_step(training, *arguments)
        seen["parameters"].append(digest(dict(training.method.named_parameters())))
        seen["rank"], seen["world_size"] = training.fabric.global_rank, training.fabric.world_size

    loop.take_turn, loop.train_step = record, step
    multiple = get_method(method).samples_multiple
    unlabeled = 1 if multiple == 1 else 2 * multiple  # two samples are left where halves of the batch are mixed
    changes = {"engine.steps": STEPS, "data.unlabeled_per_batch": unlabeled}
    start_run(store, out / method, tiny_config(store, method, changes))
    loop.take_turn, loop.train_step = take_turn, train_step
    (out / f"{method}-{seen['rank']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for name in sys.argv[3:]:
        train_and_watch(Store.open(sys.argv[1]), name, Path(sys.argv[2]))
