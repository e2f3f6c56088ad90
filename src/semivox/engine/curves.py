"""curves.png of a run: every number that it logs over its steps, to be looked at while it trains and afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semivox.fsio import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
WEIGHT = "_weight"
DICE = "_dice"
FEW = 15
"""A line of fewer points shows them."""
PANEL_INCHES = (4.2, 2.7)

Points = list[tuple[int, float]]


class Panel(NamedTuple):
    """One picture of the sheet."""

    title: str
    lines: dict[str, Points]
    percent: bool = False


def draw_curves(metrics: Path, picture: Path, *, title: str) -> None:
    """Draw a sheet of panels: loss, validation Dice, then each term (with its weight) and each watched number.

    Args:
        metrics: metrics.jsonl of a run, finished or not; without a row nothing is drawn.
        picture: PNG to write, whole or not at all.
        title: heading of the sheet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of imports that most commands do not need
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    panels = panels_of(rows)
    if not panels:
        return
    height = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * height + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    starts = stage_starts(rows)
    for number, panel in enumerate(panels):
        draw_panel(figure.add_subplot(height, COLUMNS, number + 1), panel, starts)
    with atomic_file(picture) as temporary, open(temporary, "wb") as stream:
        figure.savefig(stream, format="png", dpi=110)


def panels_of(rows: list[dict[str, Any]]) -> list[Panel]:
    """The panels of a run's rows; a weight is drawn into the panel of its term."""
    steps = [row for row in rows if "loss" in row]
    terms = list(dict.fromkeys(name for row in steps for name in row["terms"]))
    panels = [Panel("loss", {"loss": points((row["step"], row["loss"]) for row in steps)}),
              Panel("Dice % of the validation cases", validation_lines(rows), percent=True)]
    for name in terms:
        if name.endswith(WEIGHT) and name.removesuffix(WEIGHT) in terms:
            continue
        panels.append(Panel(name, {key: points((row["step"], row["terms"].get(key)) for row in steps)
                                   for key in (name, name + WEIGHT) if key in terms}))
    return [panel for panel in panels if any(panel.lines.values())]


def validation_lines(rows: list[dict[str, Any]]) -> dict[str, Points]:
    """Dice of the deployed networks, and of all that is observed beside them."""
    found = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    names = list(dict.fromkeys(key for _, scores in found for key in scores if key == "dice" or key.endswith(DICE)))
    return {"deployed" if name == "dice" else name.removesuffix(DICE).replace("_", " "):
            points((step, scores.get(name)) for step, scores in found) for name in names}


def points(pairs: Iterable[tuple[int, float | None]]) -> Points:
    """Steps and values, without those that are not numbers."""
    return [(step, value) for step, value in pairs if value is not None]


def stage_starts(rows: list[dict[str, Any]]) -> list[int]:
    """Steps at which a stage after the first begins."""
    steps = [(row["step"], row["stage"]) for row in rows if "stage" in row]
    return [before[0] for before, after in zip(steps[:-1], steps[1:], strict=True) if before[1] != after[1]]


def draw_panel(axes: Axes, panel: Panel, starts: list[int]) -> None:
    """One panel; a weight, which is often of another size, has the axis on the right."""
    for name, line in panel.lines.items():
        if not line:
            continue
        if name == panel.title + WEIGHT:
            right = axes.twinx()
            right.plot(*zip(*line, strict=True), color="0.6", lw=1, ls="--")
            right.set_ylabel("weight", color="0.5", fontsize=8)
            right.tick_params(labelsize=8, colors="0.5")
            right.set_ylim(0, 1.08 * max(value for _, value in line) or 1)
        else:
            axes.plot(*zip(*line, strict=True), lw=1.4, marker="o" if len(line) < FEW else None, ms=3, label=name)
    for start in starts:
        axes.axvline(start, color="0.5", lw=0.8, ls=":")
    axes.set_title(panel.title.replace("_", " "), fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(useOffset=False)
    axes.grid(alpha=0.25)
    if panel.percent:
        axes.legend(fontsize=7, frameon=False, loc="best")
