"""Two sides of a contest and one that fails, for processes that import them by name."""

from __future__ import annotations

import time


def slow(setup):
    return work_of(0.04)


def fast(setup):
    return work_of(0.01)


def broken(setup):
    raise ValueError("no scans")


def work_of(seconds):
    def work():
        time.sleep(seconds)
        return 7

    return work
