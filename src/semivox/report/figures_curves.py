"""Learning curves of all runs on common axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator

from semivox.report.colors import Style
from semivox.report.vector import drawing, to_svg

MOST_POINTS = 160
"""A longer curve is shown by the means of as many equal parts."""
FEW = 12
"""A curve of fewer points shows them."""


class Curve(NamedTuple):
    """One quantity of one run."""

    label: str
    style: Style
    points: Sequence[tuple[int, float]]
    """(step, value), ascending."""


def curve_plot(curves: Sequence[Curve], *, name: str, title: str, logarithmic: bool = False) -> str:
    """All curves over the steps; runs of one method have one color.

    Args:
        curves: at least one, each with at least one point.
        name: id of the figure.
        title: name and unit of the quantity.
        logarithmic: whether the values, all positive then, are shown on a logarithmic axis.
    """
    with drawing(2.75) as (figure, axes):
        for curve in curves:
            steps, values = thinned(curve.points)
            dashes = (0, curve.style.dashes) if curve.style.dashes else "-"
            axes.plot(steps, values, color=curve.style.color, linestyle=dashes, linewidth=1.3, alpha=0.85,
                      marker=curve.style.marker if len(steps) < FEW else None, markersize=3)
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_formatter("")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("step")
        axes.set_ylabel(title)
        names = ", ".join(dict.fromkeys(curve.label for curve in curves))
        return to_svg(figure, name, f"{title} over the steps of {len(curves)} runs: {names}")


def thinned(points: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values; means over equal parts when there are more than ``MOST_POINTS``."""
    steps, values = (np.array(part, float) for part in zip(*points, strict=True))
    if len(steps) <= MOST_POINTS:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), MOST_POINTS)
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])
