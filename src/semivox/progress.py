"""What a person sees during long work: a bar with ETA and throughput on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_INTERVAL_S = 60.0


class Bar(Protocol):
    """What ``track`` yields."""

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""

    def note(self, text: str) -> None:
        """Show a short text beside the numbers."""


@contextmanager
def track(title: str, *, total: int, unit: str, done: int = 0, visible: bool = True) -> Iterator[Bar]:
    """Show progress on stderr while the block runs.

    Args:
        title: what is being done.
        total: number of units of the whole work.
        unit: one unit's name, in the singular.
        done: units that were done before (a resumed run).
        visible: False shows nothing: of several processes that do the same work, one speaks.
    """
    if not visible:
        yield SilentBar()
    elif sys.stderr.isatty():
        with _rich_bar(title, total, unit, done) as bar:
            yield bar
    else:
        yield PlainBar(title, total, unit, done)


class SilentBar:
    """Shows nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """Nothing to show."""


class PlainBar:
    """One line a minute, for logs; nothing for work that ends sooner."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.text, self.first = "", done
        self.start = self.last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count, and print a line when a minute has gone."""
        self.done += count
        now = time.monotonic()
        if now - self.last >= PLAIN_INTERVAL_S:
            self.last = now
            sys.stderr.write(self.line(now - self.start) + "\n")
            sys.stderr.flush()

    def note(self, text: str) -> None:
        """Text for the next line."""
        self.text = text

    def line(self, elapsed_s: float) -> str:
        """The line for a log, with throughput and time left."""
        rate = (self.done - self.first) / max(elapsed_s, 1e-9)
        left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
        speed = f"{rate:.2f} {self.unit}s/s" if rate >= 0.1 else f"{1 / max(rate, 1e-9):.1f} s/{self.unit}"
        parts = [f"{self.title}: {self.done}/{self.total} {self.unit}s", speed, f"{format_duration(left_s)} left"]
        return ", ".join(parts + [self.text] * bool(self.text))


def format_duration(seconds: float) -> str:
    """``75`` -> ``"1:15"``, ``4000`` -> ``"1:06:40"``."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _rich_bar(title: str, total: int, unit: str, done: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    start = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} " + unit + "s"),
               TextColumn("{task.fields[speed]}"), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
               TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, completed=done, speed="", text="")

        class RichBar:
            done_here = 0

            def advance(self, count: int = 1) -> None:
                self.done_here += count
                rate = self.done_here / max(time.monotonic() - start, 1e-9)
                progress.update(task, advance=count, speed=f"{rate:.2f} {unit}s/s")

            def note(self, text: str) -> None:
                progress.update(task, text=text)

        yield RichBar()
