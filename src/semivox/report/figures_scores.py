"""Figures of scores: box plots over cases, paired differences, and the label-efficiency curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from semivox.report.colors import Style
from semivox.report.vector import INK, MUTED, PAPER, drawing, to_svg
from semivox.seeding import numpy_generator

ROW, HEAD = 0.37, 0.62
"""Inches of a row of a horizontal figure, and of what is around the rows."""
LONGEST_LABEL = 24
SPREAD = 0.17
"""Half of the height, in rows, over which the points of a row are scattered."""


class Series(NamedTuple):
    """Scores of one row of the tables."""

    label: str
    style: Style
    values: Mapping[str, float]
    """Case to score (mean over seeds)."""


class Difference(NamedTuple):
    """A row against the reference, on the same cases."""

    label: str
    style: Style
    values: Sequence[float]
    """Difference of each case."""
    mean: float
    low: float
    high: float
    note: str
    """Shown at the right: the p-value."""


class Efficiency(NamedTuple):
    """A method over numbers of labeled cases."""

    label: str
    style: Style
    points: Sequence[tuple[int, float, float, float]]
    """(labeled cases, mean, low, high), ascending."""


def box_plot(rows: Sequence[Series], *, name: str, title: str) -> str:
    """Boxes (quartiles, whiskers to 1.5 box lengths), every case as a point, the mean as a diamond; best row on top.

    Args:
        rows: in the order in which they are shown, from the top.
        name: id of the figure.
        title: name and unit of the measure.
    """
    with drawing(HEAD + ROW * len(rows)) as (figure, axes):
        for number, row in enumerate(rows):
            scores = np.array(list(row.values.values()))
            line = {"color": row.style.color}
            axes.boxplot(scores, positions=[number], orientation="horizontal", widths=0.56, showfliers=False,
                         patch_artist=True, medianprops={**line, "linewidth": 2.2}, whiskerprops=line, capprops=line,
                         boxprops={"facecolor": row.style.color + "2e", "edgecolor": row.style.color})
            axes.plot(scores, number + _scatter(len(scores), row.label), linestyle="none", marker="o", markersize=2.6,
                      color=row.style.color, alpha=0.75, markeredgewidth=0)
            axes.plot([scores.mean()], [number], marker="D", markersize=4.6, color=INK, markeredgecolor=PAPER,
                      markeredgewidth=0.8, linestyle="none", zorder=5)
        _name_rows(axes, [row.label for row in rows])
        axes.set_xlabel(title)
        return to_svg(figure, name, f"{title} of every case: {', '.join(row.label for row in rows)}")


def difference_plot(rows: Sequence[Difference], *, name: str, title: str, reference: str) -> str:
    """Mean difference of each row to the reference with its interval; every case as a faint point; a line at zero."""
    with drawing(HEAD + ROW * max(len(rows), 1)) as (figure, axes):
        axes.axvline(0, color=MUTED, linewidth=1)
        for number, row in enumerate(rows):
            axes.plot(row.values, number + _scatter(len(row.values), row.label), linestyle="none", marker="o",
                      markersize=2.4, color=row.style.color, alpha=0.35, markeredgewidth=0)
            axes.plot([row.low, row.high], [number, number], color=row.style.color, linewidth=3.2)
            axes.plot([row.mean], [number], marker="o", markersize=6, color=row.style.color, markeredgecolor=PAPER,
                      markeredgewidth=1, zorder=5)
            axes.text(1.0, number - 0.3, row.note, transform=axes.get_yaxis_transform(), ha="right", va="center",
                      fontsize=7, color=MUTED)
        _name_rows(axes, [row.label for row in rows])
        axes.set_xlabel(title)
        return to_svg(figure, name, f"{title}, each method against {reference}, with 95 % intervals")


def efficiency_plot(lines: Sequence[Efficiency], *, name: str, title: str,
                    bound: tuple[str, float] | None = None) -> str:
    """Score over the number of labeled cases (logarithmic), with intervals.

    Args:
        lines: one for each method.
        name: id of the figure.
        title: name and unit of the measure.
        bound: name and score of training with all labels, drawn as a level.
    """
    counts = sorted({point[0] for line in lines for point in line.points})
    with drawing(2.9) as (figure, axes):
        axes.set_xscale("log", base=2)
        for number, line in enumerate(lines):
            labeled, means, lows, highs = (np.array(part, float) for part in zip(*line.points, strict=True))
            shift = 2 ** (0.05 * (number - (len(lines) - 1) / 2))  # so that intervals do not hide each other
            dashes = (0, line.style.dashes) if line.style.dashes else "-"
            axes.plot(labeled * shift, means, color=line.style.color, linestyle=dashes, linewidth=1.8,
                      marker=line.style.marker, markersize=5, markeredgecolor=PAPER, label=line.label)
            axes.vlines(labeled * shift, lows, highs, color=line.style.color, linewidth=1.4, alpha=0.7)
        if bound is not None:
            axes.axhline(bound[1], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
            axes.annotate(bound[0], (0.01, bound[1]), xycoords=("axes fraction", "data"), xytext=(0, 3),
                          textcoords="offset points", fontsize=7.5, color=MUTED)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlim(counts[0] / 1.35, counts[-1] * 1.35)
        axes.set_xlabel("labeled cases")
        axes.set_ylabel(title)
        return to_svg(figure, name, f"{title} over the number of labeled cases")


def shortened(label: str, longest: int = LONGEST_LABEL) -> str:
    """A label in at most two lines, each of at most ``longest`` characters."""
    if len(label) <= longest:
        return label
    cut = label.rfind(" ", 0, longest + 1)
    first, second = (label[:cut], label[cut + 1 :]) if cut > 0 else (label[:longest], label[longest:])
    return first + "\n" + (second if len(second) <= longest else second[: longest - 1] + "…")


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels], color=INK)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.grid(visible=False, axis="y")
    for text in axes.get_yticklabels():
        text.set_fontsize(8.2)
        text.set_linespacing(1.0)


def _scatter(count: int, label: str) -> np.ndarray:
    """Vertical offsets that let equal scores be seen; the same in every report."""
    return np.asarray(numpy_generator(0, "scatter", label).uniform(-SPREAD, SPREAD, count))
