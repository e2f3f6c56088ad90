"""Many cases, one after the other: a bad one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from semivox.errors import InputError, PartialFailure, ResourceError, SemivoxError, UsageError
from semivox.fsio import read_json, write_json
from semivox.inference.cases import Job
from semivox.inference.predictor import CaseResult, LoadedCase, Predictor

FAILED = "failed.json"
ENTRY_KEYS = {"case", "code", "error"}
"""Of each failure in the list; by them a list is known as ours."""


def predict_cases(predictor: Predictor, jobs: Sequence[Job], *, probabilities: bool = False,
                  done: Callable[[Job, CaseResult | SemivoxError], None] | None = None) -> list[CaseResult]:
    """Predict all cases; the next one is read while the network works on this one.

    Cases that fail are listed in ``failed.json`` beside the label maps; a list of an earlier prediction is removed.

    Args:
        predictor: network and plan.
        jobs: cases and their label maps.
        probabilities: also write each class's probability.
        done: called for each case that is through, with its result or what made it fail.

    Raises:
        PartialFailure: P1, some of several cases failed.
        SemivoxError: the failure itself, when there is only one case.
        UsageError: P8, a ``failed.json`` is there that no prediction wrote; nothing is predicted then.
    """
    results: list[CaseResult] = []
    failures: list[tuple[Job, SemivoxError]] = []
    for path in {job.out_path.parent / FAILED for job in jobs}:
        _remove_list(path)
    with ThreadPoolExecutor(1) as reader:
        for job, loading in _ahead(predictor, jobs, reader):
            outcome: CaseResult | SemivoxError
            try:
                with _as_semivox_errors(job):
                    outcome = predictor.predict_loaded(loading.result(), job.out_path, probabilities=probabilities)
                results.append(outcome)
            except SemivoxError as error:
                outcome = error
                failures.append((job, error))
            if done is not None:
                done(job, outcome)
    if failures and len(jobs) == 1:
        raise failures[0][1]
    if failures:
        raise _report(failures, len(jobs))
    return results


def _ahead(predictor: Predictor, jobs: Sequence[Job], reader: ThreadPoolExecutor
           ) -> Iterator[tuple[Job, Future[LoadedCase]]]:
    """Each job with its case being read; the one after it is read meanwhile."""
    following = reader.submit(_load, predictor, jobs[0]) if jobs else None
    for index, job in enumerate(jobs):
        current = following
        if index + 1 < len(jobs) and current is not None:
            current.exception()  # one at a time: at most two cases are in memory
            following = reader.submit(_load, predictor, jobs[index + 1])
        if current is not None:
            yield job, current


def _load(predictor: Predictor, job: Job) -> LoadedCase:
    job.case.require_channels([channel.name for channel in predictor.plan.channels])
    return predictor.load(job.case.paths)


@contextmanager
def _as_semivox_errors(job: Job) -> Iterator[None]:
    """Say what a user can do about a lack of memory or disk."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ResourceError("C9", job.case.name, "the GPU has too little memory for these windows",
                            "use --batch 1, or --device cpu") from None
    except MemoryError:
        raise ResourceError("P5", job.case.name, "the machine has too little memory for this scan",
                            "free memory, or predict on a larger machine") from None
    except OSError as error:
        raise ResourceError("P5", error.filename or job.out_path, f"the file system refused: {error.strerror or error}",
                            "check free space and permissions") from None


def _remove_list(path: Path) -> None:
    """Remove the list of failures of an earlier prediction; a file of that name by someone else is not touched."""
    if not path.exists():
        return
    try:
        content = read_json(path)
    except InputError:
        content = None
    entries = content.get("failed") if isinstance(content, dict) and set(content) == {"failed"} else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) and set(e) == ENTRY_KEYS for e in entries):
        raise UsageError("P8", path, "a file of this name is there that no prediction wrote",
                         "move it away, or name another folder")
    path.unlink()


def _report(failures: Sequence[tuple[Job, SemivoxError]], total: int) -> PartialFailure:
    """Write the list of failures and make the error that points to it."""
    path: Path = failures[0][0].out_path.parent / FAILED
    write_json(path, {"failed": [{"case": job.case.name, "code": error.code, "error": str(error)}
                                 for job, error in failures]})
    first_job, first = failures[0]
    return PartialFailure("P1", path, f"{len(failures)} of {total} cases failed, first {first_job.case.name}:"
                          f" {first.problem}", "correct the listed cases and repeat the command with --overwrite")
