"""Work on many cases whose failures are kept as values, so that one bad case does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from semivox.errors import ResourceError, SemivoxError
from semivox.progress import track
from semivox.workers import WorkerPool

In = TypeVar("In")
Out = TypeVar("Out")


class Answer(NamedTuple, Generic[Out]):
    """What became of one case: a value or an error."""

    value: Out | None
    error: SemivoxError | None


def answers(pool: WorkerPool, task: Callable[[In], Out], items: Sequence[In], *,
            title: str) -> Iterator[tuple[int, Answer[Out]]]:
    """Yield (index, answer) as items get done, showing progress.

    Args:
        pool: where the work is done.
        task: a module-level function; a ``SemivoxError`` that it raises becomes the answer's error.
        items: picklable arguments.
        title: shown beside the bar.
    """
    with track(title, total=len(items), unit="case") as bar:
        for index, answer in pool.as_done(partial(_guarded, task), items):
            bar.advance()
            yield index, answer


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
