"""From a matplotlib figure to SVG inside of a page: no fixed size, no outside names, the page's own colors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#18202b", "#5c6673", "#dfe3e9", "#fefefd"
"""Written into figures and exchanged for the page's variables, so that figures follow its light or dark colors."""
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--card)"}
WIDTH = 4.7
"""Inches: about the width of a phone at the size of its text, so that labels are readable there."""
RC: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "semivox", "font.family": ["sans-serif"], "font.size": 9.0,
    "font.sans-serif": ["DejaVu Sans"], "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": RULE,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.labelsize": 8.5,
    "axes.grid": True, "grid.color": RULE, "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "xtick.major.size": 0, "ytick.major.size": 0,
    "ytick.minor.size": 0, "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none",
    "lines.solid_capstyle": "round", "text.parse_math": False, "axes.unicode_minus": True,
}
_NAMES = re.compile(r'(\bid="|url\(#|href="#)')
_OUTSIDE = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>|<style.*?</style>", re.DOTALL)
_ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([^\"]+)\"[^>]*>")


@contextmanager
def drawing(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes in the style of the page, ``width`` x ``height`` inches."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        figure: drawn inside of ``drawing``.
        name: unique in the page: prefix of all ids.
        alt: what is to be seen, in words, for readers who do not see it; plain text.
    """
    stream = io.StringIO()
    with mpl.rc_context(RC):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _OUTSIDE.sub("", stream.getvalue())
    text = _NAMES.sub(lambda found: f"{found.group(1)}{name}-", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    label = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return _ROOT.sub(lambda found: f'<svg viewBox="{found.group(1)}" role="img" aria-label="{label}">', text,
                     count=1).strip()
