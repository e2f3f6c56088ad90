"""How the process of a run is asked to stop: by a signal, or because the one that started it has died."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DRIVER_VARIABLE = "SEMIVOX_COMPARE_DRIVER"
"""Process that started this one and without which it shall not go on."""
SET_PARENT_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of Linux's ``prctl``."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Stop(BaseException):
    """A signal asked to stop; no handler of errors may take it for one."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal that asks to stop into ``Stop``; training handles signals itself, between two steps."""
    def stop(number: int, frame: object) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stop

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_driver() -> None:
    """Have the kernel ask this process to stop when the one that started it dies, even by ``kill -9``.

    Raises:
        Stop: it has died already.
    """
    driver = os.environ.get(DRIVER_VARIABLE)
    if driver is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(driver):
        raise Stop
