"""All randomness starts here: a seed is derived from what it is for, never carried in global state.

The same (run seed, step, rank, sample) gives the same draw in every process, which is what makes a resumed
run equal to an uninterrupted one.
"""

from __future__ import annotations

import hashlib

import numpy as np


def fold_in(seed: int, *names: int | str) -> int:
    """Derive a seed in 0..2**63-1 from ``seed`` and any number of names, stable across machines and versions."""
    text = "/".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, *names: int | str) -> np.random.Generator:
    """A NumPy generator of its own for one purpose."""
    return np.random.Generator(np.random.Philox(key=fold_in(seed, *names)))


def seed_torch(seed: int, *names: int | str) -> None:
    """Seed torch's default generators (CPU and devices): the engine does this before every ``forward``."""
    import torch

    torch.manual_seed(fold_in(seed, *names))
