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


class Streams(NamedTuple):
    """What the samples of a run are drawn from."""

    seed: int
    """Of the run."""
    rank: int
    """Number of this process, 0..world_size-1."""
    world_size: int
    """Number of processes; each draws ``labeled_per_batch + unlabeled_per_batch`` samples a step."""
    labeled_cases: int
    """Number of labeled cases: their indices are 0..labeled_cases-1."""
    unlabeled_cases: int
    """Number of unlabeled cases: their indices follow the labeled ones."""
    labeled_per_batch: int
    """Labeled samples per process and step."""
    unlabeled_per_batch: int
    """Unlabeled samples per process and step; may be 0."""


def draws(step: int, streams: Streams) -> list[Draw]:
    """Return the samples of batch number ``step`` (from 0), labeled ones first.

    Fewer cases than a batch takes is fine: cases repeat with other crops, as each sample has a seed of its own.

    Raises:
        UsageError: a stream is asked for samples but has no cases.
    """
    require_cases(streams)
    seed, rank = streams.seed, streams.rank
    batch = step * streams.world_size + rank
    count = streams.labeled_per_batch
    labeled = _slice_of_stream(seed, "labeled", streams.labeled_cases, slice(batch * count, (batch + 1) * count))
    count = streams.unlabeled_per_batch
    unlabeled = _slice_of_stream(seed, "unlabeled", streams.unlabeled_cases, slice(batch * count, (batch + 1) * count))
    cases = [(case, True) for case in labeled] + [(streams.labeled_cases + case, False) for case in unlabeled]
    return [Draw(case, seen, fold_in(seed, "sample", step, rank, slot)) for slot, (case, seen) in enumerate(cases)]


def require_cases(streams: Streams) -> None:
    """Refuse a batch that has no cases to be drawn from.

    Raises:
        UsageError: D13, naming what fits.
    """
    if streams.labeled_per_batch > 0 and streams.labeled_cases == 0:
        taken = f"a batch takes {streams.labeled_per_batch} labeled samples"
        problem = f"0 labeled cases, but {taken}; the minimum is 1 case"
        raise UsageError("D13", "labeled cases", problem, "put at least one label into labelsTr, or raise --labeled")
    if streams.unlabeled_per_batch > 0 and streams.unlabeled_cases == 0:
        taken = f"a batch takes {streams.unlabeled_per_batch} unlabeled samples"
        fix = "use `--method supervised`, which needs none, or lower --labeled, or add scans to imagesUn"
        raise UsageError("D13", "unlabeled cases", f"0 unlabeled cases, but {taken}; the minimum is 1 case", fix)


def _slice_of_stream(seed: int, stream: str, cases: int, part: slice) -> list[int]:
    """Entries ``part`` of an endless sequence of permutations of ``cases`` cases."""
    return [_permutation(seed, stream, cases, at // cases)[at % cases] for at in range(part.start, part.stop)]


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: str, cases: int, turn: int) -> tuple[int, ...]:
    return tuple(numpy_generator(seed, "permutation", stream, turn).permutation(cases).tolist())
