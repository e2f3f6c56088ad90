"""One color for a method everywhere; variants of a method have its color and differ by dashes and markers.

The palette is that of Okabe and Ito, made for color-blind readers, followed by dark tones of Tol's *muted* scheme. Both
bounds are gray: they are the ground that methods stand on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

KNOWN = {"supervised": "#7b8490", "mean_teacher": "#e69f00", "caml": "#0072b2", "cml": "#d55e00", "crln": "#009e73",
         "dualnet": "#cc79a7"}
OTHERS = ("#56b4e9", "#882255", "#999933", "#332288", "#44aa99", "#aa4499")
"""For methods of a user's own, in the order in which they are asked for."""
REFERENCE = "#18202a"
"""Contours and surfaces of the reference: no method has this color."""
REFERENCE_ON_SCAN = "#ffffff"
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.8), (7, 2, 1.5, 2), (3, 1.5, 1, 1.5, 1, 1.5))
"""On and off lengths in line widths, by the number of the variant."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Style(NamedTuple):
    """How a row of the tables looks in every figure."""

    color: str
    """``#rrggbb``."""
    dashes: tuple[float, ...]
    marker: str

    @property
    def css_dashes(self) -> str:
        """Value of ``stroke-dasharray``."""
        return " ".join(f"{length:g}" for length in self.dashes) or "none"


def styles_of(rows: Iterable[tuple[str, str]]) -> dict[str, Style]:
    """Style of each label.

    Args:
        rows: (label, name of the method) of every row, in the order of the comparison; labels may come repeatedly.
    """
    styles: dict[str, Style] = {}
    variants: dict[str, int] = {}
    colors = dict(KNOWN)
    for label, method in rows:
        if label in styles:
            continue
        if method not in colors:
            colors[method] = OTHERS[(len(colors) - len(KNOWN)) % len(OTHERS)]
        number = variants.get(method, 0)
        variants[method] = number + 1
        styles[label] = Style(colors[method], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])
    return styles
