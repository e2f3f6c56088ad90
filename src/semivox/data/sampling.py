"""Which case every sample of every step comes from: a pure function of (seed, step, rank), without state.

Two endless streams, one of labeled and one of unlabeled cases. Each is a concatenation of random permutations, so
that over full passes every case appears equally often. The ranks of a distributed run take disjoint slices.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from semivox.errors import UsageError
from semivox.seeding import fold_in, numpy_generator


class Draw(NamedTuple):
    """One sample: which case, whether its label is seen, and the seed of everything random about it."""

    case: int
    """Index into the training cases, labeled cases first."""
    labeled: bool
    seed: int


def draws(
    step: int,
    *,
    seed: int,
    rank: int,
    world_size: int,
    labeled_cases: int,
    unlabeled_cases: int,
    labeled_per_batch: int,
    unlabeled_per_batch: int,
) -> list[Draw]:
    """Return the samples of one batch, labeled ones first.

    Fewer cases than a batch takes is fine: cases repeat with other crops, as each sample has a seed of its own.

    Args:
        step: number of the batch, from 0.
        seed: seed of the run.
        rank: number of this process, 0..world_size-1.
        world_size: number of processes; each draws ``labeled_per_batch + unlabeled_per_batch`` samples a step.
        labeled_cases: number of labeled cases (their indices are 0..labeled_cases-1).
        unlabeled_cases: number of unlabeled cases (their indices follow the labeled ones).
        labeled_per_batch: labeled samples per process and step.
        unlabeled_per_batch: unlabeled samples per process and step; may be 0.

    Raises:
        UsageError: a stream is asked for samples but has no cases.
    """
    require_cases(labeled_cases, unlabeled_cases, labeled_per_batch, unlabeled_per_batch)
    batch = step * world_size + rank
    labeled = _slice_of_stream(seed, "labeled", labeled_cases, batch * labeled_per_batch, labeled_per_batch)
    unlabeled = _slice_of_stream(seed, "unlabeled", unlabeled_cases, batch * unlabeled_per_batch, unlabeled_per_batch)
    cases = [(case, True) for case in labeled] + [(labeled_cases + case, False) for case in unlabeled]
    return [Draw(case, seen, fold_in(seed, "sample", step, rank, slot)) for slot, (case, seen) in enumerate(cases)]


def require_cases(
    labeled_cases: int, unlabeled_cases: int, labeled_per_batch: int, unlabeled_per_batch: int
) -> None:
    """Refuse a batch that has no cases to be drawn from.

    Raises:
        UsageError: D13, naming what fits.
    """
    if labeled_per_batch > 0 and labeled_cases == 0:
        problem = f"0 labeled cases, but a batch takes {labeled_per_batch} labeled samples; the minimum is 1 case"
        raise UsageError("D13", "labeled cases", problem, "put at least one label into labelsTr, or raise --labeled")
    if unlabeled_per_batch > 0 and unlabeled_cases == 0:
        problem = f"0 unlabeled cases, but a batch takes {unlabeled_per_batch} unlabeled samples; the minimum is 1 case"
        fix = "use `--method supervised`, which needs none, or lower --labeled, or add scans to imagesUn"
        raise UsageError("D13", "unlabeled cases", problem, fix)


def _slice_of_stream(seed: int, stream: str, cases: int, start: int, count: int) -> list[int]:
    """Entries ``start .. start + count - 1`` of an endless sequence of permutations of ``cases`` cases."""
    return [_permutation(seed, stream, cases, at // cases)[at % cases] for at in range(start, start + count)]


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: str, cases: int, turn: int) -> tuple[int, ...]:
    return tuple(numpy_generator(seed, "permutation", stream, turn).permutation(cases).tolist())
