"""progress.png: the sheet of all curves while a run trains, in little of its time."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

from semivox.config import RunConfig
from semivox.engine.curves import draw_curves
from semivox.engine.logs import say
from semivox.engine.rundir import RunDirectory
from semivox.fsio import atomic_file
from semivox.progress import PlainBar
from semivox.wording import printable

INTERVAL_S = 30.0
SHARE = 0.02
"""Of a run's time that drawing may take."""
FIRST_S = 1.0
"""What the first drawing is taken to cost: most of it is imports."""


class LivePicture:
    """Draws between two steps, and waits so long that the last drawing was a small share of the time since.

    Args:
        run: where metrics.jsonl and the pictures are.
        config: of the run.
        done: steps that were done before this process.
    """

    def __init__(self, run: RunDirectory, config: RunConfig, *, done: int) -> None:
        self.run, self.config = run, config
        self.bar = PlainBar(f"{config.method.name}, seed {config.seed}", config.engine.steps, "step", done)
        self.drawn_at, self.cost_s = self.bar.start, FIRST_S

    def is_due(self, now: float, *, validated: bool) -> bool:
        """Whether to draw: after a validation or some time, unless drawing has turned out to be too slow for that."""
        waited = now - self.drawn_at
        return (validated or waited >= INTERVAL_S) and self.cost_s <= SHARE * waited

    def show(self, step: int, *, validated: bool) -> None:
        """Draw what was logged up to ``step``, with throughput and time left, if it is time to."""
        now = time.monotonic()
        if not self.is_due(now, validated=validated):
            return
        self.bar.done = step
        drawn = self._draw(self.run.progress, self.bar.line(now - self.bar.start))
        self.drawn_at = time.monotonic()
        self.cost_s = self.drawn_at - now if drawn else math.inf

    def finish(self) -> None:
        """Draw curves.png of the finished run; progress.png, which somebody may still look at, shows the same."""
        steps = self.config.engine.steps
        title = f"{self.config.method.name}, step {steps} of {steps}, seed {self.config.seed}"
        if self._draw(self.run.curves, title) and self.run.curves.is_file():
            try:
                with atomic_file(self.run.progress) as temporary:
                    shutil.copyfile(self.run.curves, temporary)
            except OSError as error:
                say(f"WARNING: {self.run.progress} cannot be written ({printable(str(error))}).")

    def _draw(self, picture: Path, title: str) -> bool:
        """Whether it could be written; a picture that cannot does not end a run."""
        try:
            draw_curves(self.run.metrics, picture, title=title)
        except Exception as error:  # whatever matplotlib raises: hours of training are worth more than a picture
            say(f"WARNING: {picture} cannot be written ({printable(str(error) or type(error).__name__)}).")
            return False
        return True
