"""Stop on request: a signal sets a flag, the loop acts on it at the next step boundary."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class StopRequest:
    """True once a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.signal_name = ""

    def __bool__(self) -> bool:
        return bool(self.signal_name)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; a second Ctrl-C stops at once (exit 130)."""
        if self.signal_name == "SIGINT" and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Listen for SIGTERM, SIGINT, SIGUSR1 and SIGHUP while the block runs."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in REQUESTS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
