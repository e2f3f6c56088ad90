"""Train every method for three steps as one of several ranks and write down what came out.

Run by ``test_every_method.py``: ``python train_on_ranks.py RANK WORLD_SIZE FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from method_material import make_method, train
from torch import distributed, nn

from semivox.methods import METHODS

STEPS = 3


def digest(method: nn.Module) -> str:
    """One hash of all parameters, trained and averaged ones."""
    sha = hashlib.sha256()
    for name, parameter in method.named_parameters():
        sha.update(name.encode() + parameter.detach().numpy().tobytes())
    return sha.hexdigest()


def main(rank: int, world_size: int, folder: Path) -> None:
    """Write ``FOLDER/rank<RANK>.json``: method to its digests before and after, and its losses."""
    torch.set_num_threads(1)
    store = (folder / "rendezvous").as_uri()
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    results = {}
    for name in METHODS:
        method = make_method(name)
        before = digest(method)
        wrapped = nn.parallel.DistributedDataParallel(method, find_unused_parameters=len(method.turns) > 1)
        losses = [float(out.loss) for outputs in train(wrapped, STEPS, seed=rank) for out in outputs.values()]
        results[name] = {"before": before, "after": digest(method), "losses": losses}
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
