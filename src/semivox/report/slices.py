"""Planes of a case as pictures: the scan as a small PNG, contours as paths on top, to be switched on and off."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from contourpy import LineType, contour_generator
from scipy import ndimage

from semivox.report.volumes import CaseVolumes

SIDE = 320
"""A longer side of a picture, in pixels, is shown by every second (third, ...) voxel."""
CLOSED = "Z"


class Plane(NamedTuple):
    """A cut: the axis it is normal to, those drawn to the right and down, and the letters at the edges."""

    name: str
    normal: int
    right: int
    down: int
    upward: bool
    """Whether the vertical axis grows upward in the picture (toward the head)."""
    letters: str
    """Left, right, top, bottom."""


PLANES = (
    Plane("axial", 2, 0, 1, False, "RLAP"),
    Plane("coronal", 1, 0, 2, True, "RLSI"),
    Plane("sagittal", 0, 1, 2, True, "APSI"),
)


def draw_planes(case: CaseVolumes, planes: tuple[Plane, ...] = PLANES) -> list[dict[str, Any]]:
    """The planes through the center of the reference, as plain JSON values.

    Returns:
        For each plane its name, ``width`` and ``height`` in mm, ``image`` (data of a PNG in base64, or None),
        ``paths`` (row label, or ``"reference"``, to SVG path data in mm), letters of the edges, and the slice.
    """
    center = center_of(case)
    low, high = (0.0, 1.0) if case.image is None else np.percentile(case.image, (1, 99.5))
    return [_draw(case, plane, center[plane.normal], (float(low), float(high))) for plane in planes]


def center_of(case: CaseVolumes) -> tuple[int, int, int]:
    """Voxel nearest to the center of mass of the reference, else of the first prediction, else of the box."""
    for labels in (case.reference, *case.predictions.values()):
        if labels.any():
            x, y, z = (round(float(position)) for position in ndimage.center_of_mass(labels > 0))
            return x, y, z
    x, y, z = (size // 2 for size in case.reference.shape)
    return x, y, z


def contour_path(labels: np.ndarray, steps_mm: tuple[float, float]) -> str:
    """Outlines of every class of a slice as SVG path data.

    Args:
        labels: (rows, columns), as they are seen from above.
        steps_mm: size of a column and of a row; the corner of the first pixel is at (0, 0).
    """
    padded = np.pad(labels, 1)
    columns = (np.arange(padded.shape[1]) - 0.5) * steps_mm[0]
    rows = (np.arange(padded.shape[0]) - 0.5) * steps_mm[1]
    parts = []
    for value in np.unique(labels[labels > 0]):
        lines = contour_generator(columns, rows, (padded == value).astype(np.float64), line_type=LineType.Separate)
        parts += [_path(np.asarray(line)) for line in lines.lines(0.5)]
    return "".join(parts)


def png(picture: np.ndarray) -> bytes:
    """An 8-bit gray picture (rows, columns) as PNG."""
    height, width = picture.shape
    raw = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture, dtype=np.uint8))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(raw, 9)),
              (b"IEND", b""))
    framed = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
              for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _draw(case: CaseVolumes, plane: Plane, index: int, window: tuple[float, float]) -> dict[str, Any]:
    def cut(volume: np.ndarray) -> np.ndarray:
        """(rows, columns) as they are seen."""
        section: np.ndarray = np.moveaxis(volume, plane.normal, 0)[index].T
        return section[::-1] if plane.upward else section

    reference = cut(case.reference)
    steps = case.spacing_mm[plane.right], case.spacing_mm[plane.down]
    paths = {"reference": contour_path(reference, steps),
             **{label: contour_path(cut(labels), steps) for label, labels in case.predictions.items()}}
    return {
        "name": plane.name if case.oriented else f"across axis {plane.normal + 1}",
        "slice": case.offset[plane.normal] + index + 1, "slices": case.shape[plane.normal],
        "width": round(reference.shape[1] * steps[0], 2), "height": round(reference.shape[0] * steps[1], 2),
        "image": None if case.image is None else gray_png(cut(case.image), window), "paths": paths,
        "letters": list(plane.letters) if case.oriented else [],
    }


def gray_png(section: np.ndarray, window: tuple[float, float]) -> str:
    """A slice between two intensities as base64 of a PNG of at most ``SIDE`` pixels a side."""
    low, high = window
    stride = -(-max(section.shape) // SIDE)
    shown = np.clip((section[::stride, ::stride] - low) / max(high - low, 1e-6), 0, 1)
    return base64.b64encode(png(np.rint(255 * shown).astype(np.uint8))).decode("ascii")


def _path(line: np.ndarray) -> str:
    """Relative path data with a tenth of a millimeter."""
    tenths = np.rint(10 * line).astype(int)
    keep = np.concatenate([[True], np.any(np.diff(tenths, axis=0) != 0, axis=1)])
    tenths = tenths[keep]
    closed = len(tenths) > 2 and bool((tenths[0] == tenths[-1]).all())
    points = tenths[:-1] if closed else tenths
    moves = np.diff(points, axis=0)
    x, y = points[0]
    body = " ".join(f"{dx / 10:g} {dy / 10:g}" for dx, dy in moves)
    return f"M{x / 10:g} {y / 10:g}l{body}" + CLOSED * closed
