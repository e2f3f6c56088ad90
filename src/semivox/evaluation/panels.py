"""Drawing: planes through the center of the reference, with the contours of reference and prediction.

Colors are of the Okabe-Ito palette, which color-blind readers can tell apart; the prediction is dashed besides.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

ON_SCAN = ("#56B4E9", "#E69F00")
ON_WHITE = ("#0072B2", "#D55E00")
AGREED, REFERENCE_ONLY, PREDICTION_ONLY = (0.87, 0.87, 0.87), (0.68, 0.83, 0.93), (0.97, 0.78, 0.63)
MARGIN = 0.12
"""The window goes beyond the box around both masks by this share of the box's largest side."""
WIDTH, GAP, TITLE, CAPTION, LEGEND, TALLEST = 11.0, 0.15, 0.38, 0.3, 0.45, 5.0
"""Inches: of the sheet, between panels, above and below a row of panels, of the legend, of the tallest panel."""
DPI = 130
SOLID, DASHED, DASHES = 1.8, 1.4, (0, (4, 1.6))
"""Line widths of reference and prediction, and the pattern of the latter."""


class View(NamedTuple):
    """One case, its arrays (X, Y, Z) in LPS order: axes run to left, posterior and superior."""

    title: str
    image: np.ndarray | None
    reference: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, float, float]
    oriented: bool
    """Whether the file says how the scan lies in the patient."""
    note: str = ""


class Plane(NamedTuple):
    """A cut through the volume: the axis it is normal to, those drawn to the right and up or down, edge letters."""

    name: str
    normal: int
    right: int
    vertical: int
    downward: bool
    letters: str
    """Left, right, top, bottom."""


PLANES = (
    Plane("axial", 2, 0, 1, True, "RLAP"),
    Plane("coronal", 1, 0, 2, False, "RLSI"),
    Plane("sagittal", 0, 1, 2, False, "APSI"),
)


class Window(NamedTuple):
    """The part of a scan that is shown, per axis, in mm from the center of the first voxel."""

    low: np.ndarray
    high: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """(3,) lengths in mm."""
        sides: np.ndarray = self.high - self.low
        return sides

    @property
    def inches_per_mm(self) -> float:
        """One scale for the three planes: they fill the sheet's width, or reach the height of the tallest panel."""
        x, y, z = self.sides
        return float(min((WIDTH - (len(PLANES) + 1) * GAP) / (x + x + y), TALLEST / max(y, z)))

    @property
    def height(self) -> float:
        """Inches of a row of panels."""
        return float(max(self.sides[1:]) * self.inches_per_mm)


def draw_sheet(path: Path, views: list[View]) -> None:
    """Draw one row of three planes for each view and save the sheet as PNG."""
    windows = [window_of(view) for view in views]
    height = LEGEND + sum(TITLE + window.height + CAPTION for window in windows)
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    top = height
    for view, window in zip(views, windows, strict=True):
        _draw_row(figure, view, window, top=top)
        top -= TITLE + window.height + CAPTION
    with_scan = any(view.image is not None for view in views)
    masks_only = any(view.image is None for view in views)
    figure.legend(handles=_legend(with_scan, masks_only), loc="lower center", ncols=7, frameon=False, fontsize=10,
                  bbox_to_anchor=(0.5, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names in scripts that the font lacks are drawn as boxes
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def center_of(view: View) -> tuple[int, int, int]:
    """Voxel nearest to the center of mass of the reference, else of the prediction, else of the grid."""
    for labels in (view.reference, view.prediction):
        if labels.any():
            x, y, z = (round(float(position)) for position in ndimage.center_of_mass(labels > 0))
            return x, y, z
    x, y, z = (size // 2 for size in view.reference.shape)
    return x, y, z


def window_of(view: View) -> Window:
    """The box around both masks with a margin, cut at the edges of the scan; the whole scan when both are empty."""
    inside = (view.reference > 0) | (view.prediction > 0)
    found = ndimage.find_objects(inside.astype(np.uint8))
    box = found[0] if found else tuple(slice(0, size) for size in inside.shape)
    steps = np.asarray(view.spacing_mm)
    low, high = (np.array([getattr(part, name) for part in box]) for name in ("start", "stop"))
    margin = MARGIN * ((high - low) * steps).max()
    edge = (np.asarray(inside.shape) - 0.5) * steps
    return Window(np.maximum((low - 0.5) * steps - margin, -0.5 * steps),
                  np.minimum((high - 0.5) * steps + margin, edge))


def _draw_row(figure: Figure, view: View, window: Window, *, top: float) -> None:
    """Draw a case; ``top`` is the upper edge of the row in inches from the bottom of the sheet."""
    width, height = figure.get_size_inches()
    texts = {"va": "center", "y": (top - 0.6 * TITLE) / height, "parse_math": False}
    figure.text(x=GAP / width, s=view.title, fontsize=12, fontweight="bold", **texts)
    figure.text(x=1 - GAP / width, s=view.note, fontsize=9, color="0.35", ha="right", **texts)
    center, left = center_of(view), GAP
    for plane in PLANES:
        across, along = window.sides[[plane.right, plane.vertical]] * window.inches_per_mm
        bottom = top - TITLE - along
        axes = figure.add_axes((left / width, bottom / height, across / width, along / height))
        _draw_plane(axes, view, plane, center[plane.normal])
        axes.set_xlim(window.low[plane.right], window.high[plane.right])
        limits = window.low[plane.vertical], window.high[plane.vertical]
        axes.set_ylim(*(limits[::-1] if plane.downward else limits))
        name = plane.name if view.oriented else f"across axis {plane.normal + 1}"
        size = view.reference.shape[plane.normal]
        axes.set_xlabel(f"{name}, slice {center[plane.normal] + 1} of {size}", fontsize=9, labelpad=3)
        left += across + GAP


def _draw_plane(axes: Axes, view: View, plane: Plane, index: int) -> None:
    def cut(volume: np.ndarray) -> np.ndarray:
        """(rows = vertical axis, columns = axis to the right)."""
        section: np.ndarray = np.moveaxis(volume, plane.normal, 0)[index].T
        return section

    reference, prediction = cut(view.reference), cut(view.prediction)
    steps = view.spacing_mm[plane.right], view.spacing_mm[plane.vertical]
    # imshow has pixel edges here, contours pixel centers; row 0 is at the low end of the vertical axis
    extent = (-0.5 * steps[0], (reference.shape[1] - 0.5) * steps[0],
              -0.5 * steps[1], (reference.shape[0] - 0.5) * steps[1])
    if view.image is None:
        axes.imshow(_agreement(reference, prediction), origin="lower", extent=extent, interpolation="nearest")
    else:
        low, high = np.percentile(view.image, (1, 99.5))
        axes.imshow(cut(view.image), cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", extent=extent)
    colors = ON_WHITE if view.image is None else ON_SCAN
    _draw_contours(axes, reference, steps, colors=colors[0], linewidths=SOLID)
    _draw_contours(axes, prediction, steps, colors=colors[1], linewidths=DASHED, linestyles=[DASHES])
    axes.set(xticks=[], yticks=[], aspect="equal", facecolor="white" if view.image is None else "black")
    for spine in axes.spines.values():
        spine.set_color("0.75")
    if view.oriented:
        color, halo = ("0.45", "white") if view.image is None else ("0.9", "black")
        _draw_letters(axes, plane.letters, color=color, halo=halo)


def _draw_contours(axes: Axes, labels: np.ndarray, steps: tuple[float, float], **style: Any) -> None:
    padded = np.pad(labels, 1)  # so that contours close at the edge of the image
    x = (np.arange(padded.shape[1]) - 1) * steps[0]
    y = (np.arange(padded.shape[0]) - 1) * steps[1]
    for value in np.unique(labels[labels > 0]):
        axes.contour(x, y, padded == value, levels=[0.5], **style)


def _draw_letters(axes: Axes, letters: str, *, color: str, halo: str) -> None:
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"),
              (0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))
    for letter, (x, y, horizontal, vertical) in zip(letters, places, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, ha=horizontal, va=vertical, fontsize=9, color=color,
                  path_effects=[withStroke(linewidth=2, foreground=halo)])


def _agreement(reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """RGB picture of two label slices: where they agree, and where only one has something (or something else)."""
    picture = np.ones((*reference.shape, 3))
    picture[prediction > 0] = PREDICTION_ONLY
    picture[(reference > 0) & (reference != prediction)] = REFERENCE_ONLY
    picture[(reference > 0) & (reference == prediction)] = AGREED
    return picture


def _legend(with_scan: bool, masks_only: bool) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    for wanted, (reference, prediction) in ((with_scan, ON_SCAN), (masks_only, ON_WHITE)):
        if wanted:
            handles += [Line2D([], [], color=reference, linewidth=SOLID, label="reference"),
                        Line2D([], [], color=prediction, linewidth=DASHED, linestyle=DASHES, label="prediction")]
    if masks_only:
        labels = {"both agree": AGREED, "reference only": REFERENCE_ONLY, "prediction only": PREDICTION_ONLY}
        handles += [Patch(color=color, label=label) for label, color in labels.items()]
    return handles
