"""How long the program takes to start: nobody's opponent but a bare Python's, and a limit."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from race import Contest, Setup, Side, Work

LIMIT_S = 0.4
COMMANDS = (("--help",), ("methods",))
RUNS = 5


def semivox(setup: Setup) -> Work:
    """``semivox --help`` and ``semivox methods``, one after the other."""
    return lambda: [_seconds("-m", "semivox", *command) for command in COMMANDS]


def bare_python(setup: Setup) -> Work:
    """The interpreter alone, twice."""
    return lambda: [_seconds("-c", "pass") for _ in COMMANDS]


def _seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=os.environ)
    return time.perf_counter() - started


def within_the_limit(ours: list[float], theirs: list[float]) -> str:
    """Each command within the limit: the median of some more runs, since the first one may find a cold disk."""
    medians = [statistics.median(_seconds("-m", "semivox", *command) for _ in range(RUNS)) for command in COMMANDS]
    said = ", ".join(f"{command[0]} {seconds:.2f} s" for command, seconds in zip(COMMANDS, medians, strict=True))
    assert max(medians) <= LIMIT_S, f"{said}: more than {LIMIT_S} s"
    return f"{said} (limit {LIMIT_S} s each)"


CONTESTS = (
    Contest("startup", "semivox --help, then semivox methods", Side("Semivox", semivox),
            Side("python -c pass, twice", bare_python), within_the_limit, repeats=7, memory=False, devices=("cpu",)),
)
