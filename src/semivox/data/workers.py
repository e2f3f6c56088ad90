"""Run one function over many cases in worker processes, with bounded memory and errors as values."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from semivox.errors import ResourceError, SemivoxError, UsageError
from semivox.progress import track

IN_FLIGHT_PER_WORKER = 2
In = TypeVar("In")
Out = TypeVar("Out")


class Answer(NamedTuple, Generic[Out]):
    """What a worker gives back: a value or an error."""

    value: Out | None
    error: SemivoxError | None


class WorkerPool:
    """Worker processes, or this process when there is no executor."""

    def __init__(self, executor: ProcessPoolExecutor | None, workers: int) -> None:
        self._executor, self._workers = executor, workers

    def run(self, task: Callable[[In], Out], items: Sequence[In], title: str) -> Iterator[tuple[int, Answer[Out]]]:
        """Yield (index, answer) as items get done, showing progress; a bounded number is in flight.

        Args:
            task: a module-level function; a ``SemivoxError`` that it raises becomes the answer's error.
            items: picklable arguments.
            title: shown beside the bar.

        Raises:
            ResourceError: a worker process died.
        """
        with track(title, total=len(items), unit="case") as bar:
            for index, answer in self._answers(task, items):
                bar.advance()
                yield index, answer

    def _answers(self, task: Callable[[In], Out], items: Sequence[In]) -> Iterator[tuple[int, Answer[Out]]]:
        if self._executor is None:
            yield from ((index, _guarded(task, item)) for index, item in enumerate(items))
            return
        waiting: dict[Future[Answer[Out]], int] = {}
        try:
            for index, item in enumerate(items):
                waiting[self._executor.submit(_guarded, task, item)] = index
                if len(waiting) >= self._workers * IN_FLIGHT_PER_WORKER:
                    yield from _collect(waiting)
            while waiting:
                yield from _collect(waiting)
        except BrokenProcessPool:
            raise ResourceError("T6", "--workers", "a worker process died, likely out of memory",
                                "run the same command with --workers 1; finished cases are kept") from None


@contextmanager
def worker_pool(workers: int) -> Iterator[WorkerPool]:
    """Start ``workers`` processes; 0 works in this process.

    Raises:
        UsageError: a negative number.
    """
    if workers < 0:
        raise UsageError("C2", "--workers", f"{workers}, expected 0 or more", "give the number of worker processes")
    if workers == 0:
        yield WorkerPool(None, 0)
        return
    executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    try:
        yield WorkerPool(executor, workers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _collect(waiting: dict[Future[Answer[Out]], int]) -> Iterator[tuple[int, Answer[Out]]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


def _guarded(task: Callable[[In], Out], item: In) -> Answer[Out]:
    try:
        return Answer(task(item), None)
    except SemivoxError as error:
        return Answer(None, error)
    except MemoryError:
        return Answer(None, ResourceError("C9", "memory", "not enough memory for this case", "run with --workers 1"))
    except OSError as error:
        fix = "free disk space or correct the permissions, then run the same command again"
        return Answer(None, ResourceError("T4", error.filename or "store", error.strerror or str(error), fix))


def _one_thread() -> None:
    """The processes are the parallelism: a worker's resampling takes one thread."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
