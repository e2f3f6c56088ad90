"""One run of a comparison, from wherever it stands to its scores: ``python -m semivox.compare.job OUT RUN_PATH``.

It does what is missing: train or resume, predict the test cases, score them. Exit code 0: done; 75: stopped, the same
command continues; 6: another process works on the run; any other: failed, ``job.json`` says why.

Nothing heavy is imported with the module: the processes that score cases import it again.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semivox.compare.pace import pace_of
from semivox.compare.stop import Stop, end_with_driver, stoppable
from semivox.errors import BusyError, SemivoxError, StoppedError, UsageError, explained
from semivox.matrix import (
    JOB_LOCK,
    LAST,
    JobRecord,
    Matrix,
    RunSpec,
    State,
    is_job_file,
    job_of,
    read_matrix,
    write_job,
)

LOCK_PATIENCE_S = 60.0
"""How long to wait for a process that holds the run: one whose driver was killed saves and ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Work off one run; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if len(given) != 2:
            raise UsageError("C1", "semivox.compare.job", f"found {len(given)} arguments, 2 are needed",
                             "python -m semivox.compare.job OUT RUN_PATH")
        with stoppable():
            return work_off(Path(given[0]), given[1])
    except Stop:
        return StoppedError.exit_code
    except SemivoxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def work_off(out: Path, run_path: str) -> int:
    """Do what a run lacks; its state and its error are in ``job.json``.

    Raises:
        UsageError: no such comparison or run.
        BusyError: another process works on the run.
    """
    from semivox.engine.train import is_first_process

    matrix = read_matrix(out)
    spec = matrix.run(run_path)
    folder = out / spec.path
    if not is_first_process():  # one of several processes of a run: the first one keeps the books
        train(matrix, spec, folder)
        return 0
    end_with_driver()
    folder.mkdir(parents=True, exist_ok=True)
    with lock_job(folder):
        before = job_of(folder)
        if before.state == "done":
            return 0
        journal = Journal(folder, before._replace(error=None, attempts=before.attempts + 1))
        try:
            work(matrix, spec, journal)
        except (Stop, StoppedError):
            journal.write("stopped")
            return StoppedError.exit_code
        except BusyError:  # somebody resumes it by hand
            write_job(folder, before)
            raise
        except Exception as error:
            return failed(journal, error)
        journal.write("done")
    return 0


@dataclass
class Journal:
    """Keeps ``job.json``."""

    folder: Path
    record: JobRecord

    def write(self, state: State, **changes: Any) -> None:
        """Write a state, and what else is new."""
        self.record = self.record._replace(state=state, **changes)
        write_job(self.folder, self.record)

    @contextmanager
    def phase(self, state: State, name: str) -> Iterator[None]:
        """Write the state, and add the seconds that the block takes to those of ``name``."""
        self.write(state)
        started = time.monotonic()
        try:
            yield
        finally:
            self.note_seconds(name, more=time.monotonic() - started)

    def note_seconds(self, name: str, *, more: float = 0.0, at_least: float = 0.0) -> None:
        """Add seconds to those of ``name``; written with the next state."""
        seconds = max(self.record.seconds.get(name, 0.0) + more, at_least)
        self.record = self.record._replace(seconds={**self.record.seconds, name: round(seconds, 3)})


def work(matrix: Matrix, spec: RunSpec, journal: Journal) -> None:
    """Train or resume, then predict and score with the last weights, and with the others that were kept."""
    from semivox.compare.scoring import evaluate_tests, predict_tests
    from semivox.engine.deploy import available_weights
    from semivox.engine.environment import peak_memory_mb

    folder = journal.folder
    with journal.phase("training", "train"):
        if train(matrix, spec, folder):
            peak = max(peak_memory_mb(), journal.record.peak_memory_mb or 0.0)
            journal.record = journal.record._replace(peak_memory_mb=round(peak, 1))
    journal.note_seconds("train", at_least=pace_of(folder).seconds)  # a killed process has not written down its time
    store = open_store(matrix)
    for name in sorted(available_weights(folder), key=lambda name: name != LAST):
        try:
            with journal.phase("predicting", "predict"):
                predict_tests(store, folder, name)
            with journal.phase("evaluating", "evaluate"):
                evaluate_tests(store, folder, name, protocol=matrix.protocol)
        except SemivoxError as error:
            if name == LAST or isinstance(error, (StoppedError, BusyError)):
                raise
            sys.stderr.write(f"WARNING {name} has no scores, the run has its own: {error}\n")


def train(matrix: Matrix, spec: RunSpec, folder: Path) -> bool:
    """Train the run to its end, from its last checkpoint if there is one; False when it was finished before."""
    from semivox.engine.rundir import RunDirectory
    from semivox.engine.train import is_first_process, resume_run, start_run
    from semivox.recipes import resolve

    run = RunDirectory(folder)
    if run.finished():
        return False
    store = open_store(matrix)
    if any(run.checkpoints.glob("*/MANIFEST.json")):
        return resume_run(folder, store.path)
    if is_first_process():
        clear(folder)
    start_run(store, folder, resolve(store.plan, spec.wishes))
    return True


def clear(folder: Path) -> None:
    """Remove what a start has left that was killed before its first checkpoint."""
    for entry in folder.iterdir():
        if is_job_file(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def open_store(matrix: Matrix) -> Any:
    """The store of the comparison.

    Raises:
        CheckpointError: K9, it is no longer there, or is another one now.
    """
    from semivox.data.store import Store
    from semivox.errors import CheckpointError

    path = Path(matrix.store)
    if not path.is_dir():
        raise CheckpointError("K9", path, "the store of this comparison is not there",
                              "name its new place: semivox compare STORE OUT")
    store = Store.open(path)
    if store.digest != matrix.store_digest:
        raise CheckpointError("K9", path, "the store has changed since the comparison was planned",
                              "restore it, or start a new comparison")
    return store


def failed(journal: Journal, error: Exception) -> int:
    """Write down why a run failed; returns its exit code."""
    failure = explained(error, fix="read the traceback in the log of this run, and report it")
    if failure is not error:
        traceback.print_exc()
    sys.stderr.write(f"{failure}\n")
    entry = {"code": failure.code, "subject": failure.subject, "problem": failure.problem, "fix": failure.fix,
             "exit_code": failure.exit_code}
    journal.write("failed", error=entry)
    return failure.exit_code


@contextmanager
def lock_job(folder: Path) -> Iterator[None]:
    """Hold a run for this process; the kernel drops the lock when it dies.

    Raises:
        BusyError: T22, another process still holds it after some time.
    """
    until = time.monotonic() + LOCK_PATIENCE_S
    with open(folder / JOB_LOCK, "a+", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise BusyError("T22", folder, "another process works on this run",
                                    "wait until it ends, or stop it") from None
            time.sleep(0.2)
        yield


if __name__ == "__main__":
    sys.exit(main())
