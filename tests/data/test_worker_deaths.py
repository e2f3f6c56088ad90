"""The death of a worker process is told with its cause."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from semivox.data.worker_deaths import explain_deaths


def sleep_quietly(ready: Connection) -> None:
    faulthandler.disable()  # pytest's would print where the process was
    ready.send(None)
    time.sleep(60)


@pytest.fixture
def sleeper() -> Iterator[BaseProcess]:
    """A process that does nothing."""
    context = multiprocessing.get_context("fork")
    ready, sender = context.Pipe(duplex=False)
    process = context.Process(target=sleep_quietly, args=(sender,))
    process.start()
    ready.recv()
    yield process
    process.kill()
    process.join()


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGKILL, "memory"), (signal.SIGBUS, "/dev/shm")])
def test_the_signal_and_its_likely_cause_are_named(sleeper: BaseProcess, number: signal.Signals, cause: str) -> None:
    assert sleeper.pid is not None
    os.kill(sleeper.pid, number)
    error = explain_deaths([sleeper])
    assert error is not None
    assert f"process {sleeper.pid} was killed by {number.name}" in error.problem
    assert cause in error.fix
    assert error.exit_code == 5


def test_an_exit_code_is_named() -> None:
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
    process.start()
    process.join()
    error = explain_deaths([process])
    assert error is not None
    assert "exited with code 3" in error.problem


def test_living_workers_are_not_blamed(sleeper: BaseProcess) -> None:
    assert explain_deaths([sleeper]) is None


def test_without_workers_there_is_nobody_to_blame() -> None:
    assert explain_deaths([]) is None
