"""Run one function over many items in worker processes; the standard library's pool, with its failures explained."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from semivox.errors import ResourceError, UsageError

IN_FLIGHT_PER_WORKER = 2
REMEDY = "run again with --workers 1, or on a machine with more memory"
In = TypeVar("In")
Out = TypeVar("Out")


class WorkerPool:
    """Worker processes, or this process when there is no executor.

    The functions to run must be importable (of module level, or a ``functools.partial`` of such), items and results
    picklable. An exception that a function raises is raised here.
    """

    def __init__(self, executor: ProcessPoolExecutor | None, workers: int) -> None:
        self._executor, self._workers = executor, workers

    def in_order(self, task: Callable[[In], Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield the results in the order of the items."""
        return map(task, items) if self._executor is None else self._executor.map(task, items)

    def as_done(self, task: Callable[[In], Out], items: Sequence[In]) -> Iterator[tuple[int, Out]]:
        """Yield (index of the item, result) as they get done; a bounded number of items is in flight."""
        if self._executor is None:
            yield from ((index, task(item)) for index, item in enumerate(items))
            return
        waiting: dict[Future[Out], int] = {}
        for index, item in enumerate(items):
            waiting[self._executor.submit(task, item)] = index
            if len(waiting) >= self._workers * IN_FLIGHT_PER_WORKER:
                yield from _collect(waiting)
        while waiting:
            yield from _collect(waiting)


@contextmanager
def worker_pool(workers: int, *, command: str, remedy: str = REMEDY) -> Iterator[WorkerPool]:
    """Start ``workers`` processes for the time of the block; 0 works in this process.

    Args:
        workers: number of processes.
        command: what the user started, named when a worker dies inside the block.
        remedy: what to do then.

    Raises:
        UsageError: a negative number.
        ResourceError: a worker process was killed.
    """
    if workers < 0:
        raise UsageError("C2", "--workers", f"{workers}, expected 0 or more", "give the number of worker processes")
    if workers == 0:
        yield WorkerPool(None, 0)
        return
    # "spawn": a forked copy of a process with running threads (SimpleITK, torch) can deadlock.
    executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    try:
        yield WorkerPool(executor, workers)
    except BrokenProcessPool:
        raise ResourceError("C9", command, "a worker process was killed, most likely because memory ran out",
                            remedy) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _collect(waiting: dict[Future[Out], int]) -> Iterator[tuple[int, Out]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


def _one_thread() -> None:
    """The processes are the parallelism: a worker's resampling takes one thread."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
