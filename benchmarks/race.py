"""Two ways to do the same work, timed in turn: each in a process of its own, one repeat of one, one of the other.

A side is a module-level function ``prepare(setup) -> work``; ``work()`` is one repeat and returns what is compared.
Processes of their own, because the settings that make ours fast (memory allocation, threads) belong to a process.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from semivox.memory import peak_memory_mb

Work = Callable[[], Any]


class Setup(NamedTuple):
    """What a contest is given."""

    folder: Path
    """For files that contests make; kept between runs of the benchmark."""
    data: Path | None = None
    """Folder of the real scans (``SEMIVOX_DATA``); None uses generated ones of the same size."""
    quick: bool = False
    """Smaller work, for ``make bench``."""
    device: str = "cpu"


class Side(NamedTuple):
    """One way to do the work."""

    name: str
    prepare: Callable[[Setup], Work]


class Contest(NamedTuple):
    """A line of the table."""

    name: str
    """Column of the results, in snake_case."""
    what: str
    ours: Side
    theirs: Side
    check: Callable[[Any, Any], str]
    """Says how equal two results are; raises AssertionError when they are not equal enough."""
    target: float | None = None
    """Times faster than theirs, at least."""
    memory_target: float | None = None
    """Our peak memory over theirs, at most."""
    repeats: int = 5
    warmups: int = 1
    """Repeats that are not timed; the result of the first one is compared."""
    memory: bool = True
    """False where a side works in processes of its own, which the peak of its first process does not show."""
    quick: bool = True
    """Part of the quick form."""
    devices: tuple[str, ...] = ("cpu", "cuda")


class Outcome(NamedTuple):
    """What was measured."""

    ours_s: float
    theirs_s: float
    ours_mb: float
    theirs_mb: float
    agreement: str
    """How equal the results are, or how they differ."""
    equal: bool = True
    """Within the contest's tolerance."""

    @property
    def ratio(self) -> float:
        """Times faster than theirs."""
        return self.theirs_s / self.ours_s


def run_contest(contest: Contest, setup: Setup) -> Outcome:
    """Warm both sides up, let them take turns, compare what they found.

    Raises:
        RuntimeError: a side failed; its error is in the text.
    """
    with racer(contest.ours, setup) as ours, racer(contest.theirs, setup) as theirs:
        results = [ours.repeat(wanted=True)[1], theirs.repeat(wanted=True)[1]]
        for _ in range(contest.warmups - 1):
            ours.repeat()
            theirs.repeat()
        seconds: list[list[float]] = [[], []]
        for _ in range(min(3, contest.repeats) if setup.quick else contest.repeats):
            for side, found in zip((ours, theirs), seconds, strict=True):
                found.append(side.repeat()[0])
        peaks = ours.peak_mb(), theirs.peak_mb()
    try:
        agreement, equal = contest.check(*results), True
    except AssertionError as difference:
        agreement, equal = f"NOT THE SAME: {difference}", False
    return Outcome(median(seconds[0]), median(seconds[1]), *peaks, agreement, equal)


class Racer:
    """A side at work in its process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._answer()

    def repeat(self, *, wanted: bool = False) -> tuple[float, Any]:
        """Seconds of one repeat, and its result if it is wanted."""
        self.connection.send("result" if wanted else "time")
        return self._answer()

    def peak_mb(self) -> float:
        """Peak memory of the process."""
        self.connection.send("peak")
        return float(self._answer())

    def _answer(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError("a side's process ended, perhaps for lack of memory") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def racer(side: Side, setup: Setup) -> Iterator[Racer]:
    """The side, prepared in a new process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(side, setup, there), daemon=False)
    process.start()
    there.close()
    try:
        yield Racer(here)
    finally:
        here.close()
        process.join(10)
        process.kill()


def _work(side: Side, setup: Setup, connection: Connection) -> None:
    try:
        work = side.prepare(setup)
        connection.send("ready")
        while True:
            order = connection.recv()
            if order == "peak":
                connection.send(_peak_mb(setup.device))
                continue
            os.sync()  # or this side would wait for the disk to take what the other one wrote
            elapsed, result = timed(work, setup.device)
            result = result.cpu() if hasattr(result, "cpu") else result
            connection.send((elapsed, result if order == "result" else None))
    except EOFError:
        return
    except Exception as error:  # the parent is the one to report it
        connection.send(RuntimeError(f"{side.name}: {type(error).__name__}: {error}"))
        raise


def timed(work: Work, device: str) -> tuple[float, Any]:
    """Seconds of one repeat, by the device's own clock on a GPU, and its result."""
    if device != "cuda":
        started = time.perf_counter()
        result = work()
        return time.perf_counter() - started, result
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    result = work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000, result


def _peak_mb(device: str) -> float:
    if device != "cuda":
        return peak_memory_mb()
    import torch

    return torch.cuda.max_memory_allocated() / 2**20
