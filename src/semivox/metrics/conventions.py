"""What is reported, and what an absent structure scores: the rules that decide a table before any model does.

==============  =====================  =================================================================
kind            which mask is empty    scores
==============  =====================  =================================================================
``ok``          neither                as measured
``missed``      only the prediction    overlaps and NSD 0, distances the image diagonal; counted
``spurious``    only the reference     overlaps and NSD 0, distances the image diagonal; counted
``empty``       both                   undefined: in no mean, counted apart
==============  =====================  =================================================================

With ``legacy`` every kind but ``ok`` scores 0 in all measures, distances included, as the released test scripts
of the semi-supervised literature have it: a model that finds nothing then looks perfect in every distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import ndimage

from semivox.metrics.overlap import Overlap, count_overlap
from semivox.metrics.surface import SurfaceDistances, surface_distances, surface_distances_mm

Kind = Literal["ok", "missed", "spurious", "empty"]
Box = tuple[slice, ...]

OVERLAPS = ("dice", "jaccard", "nsd")
DISTANCES_VOXEL = ("hd95_voxel", "asd_voxel", "assd_voxel")
DISTANCES_MM = ("hd95_mm", "asd_mm", "assd_mm")
MEASURES = ("dice", "jaccard", *DISTANCES_VOXEL, *DISTANCES_MM, "nsd")

PROTOCOLS: dict[str, tuple[str, ...]] = {
    "clinical": ("dice", "hd95_mm", "assd_mm", "nsd"),
    "literature": ("dice", "jaccard", "hd95_voxel", "asd_voxel"),
}
"""Headline measures of each protocol; all measures are computed and written in both."""

DEFINITIONS = {
    "dice": "2 |P and R| / (|P| + |R|)",
    "jaccard": "|P and R| / |P or R|",
    "surface": "mask XOR erosion(mask), face connectivity, outside of the image is background (MedPy 0.5.2)",
    "hd95": "95th percentile (linear) of the distances of both directions pooled (MedPy 0.5.2 hd95)",
    "asd": "mean distance from the prediction's surface to the reference's, directed (MedPy 0.5.2 asd)",
    "assd": "mean distance of both directions pooled (MedPy 0.5.2 assd)",
    "nsd": "share of both surfaces' elements within tolerance_mm of the other surface",
    "absent": "missed or spurious structure: overlaps 0, distances the image diagonal, counted in n_missed; "
    "absent in both: undefined, in no mean, counted in n_empty",
    "absent_legacy": "an empty prediction or reference scores 0 in every measure, distances included",
}


class CaseMetrics(NamedTuple):
    """Scores of one class in one case. Overlaps are fractions 0..1; None where a measure is not defined."""

    kind: Kind
    overlap: Overlap
    dice: float | None = None
    jaccard: float | None = None
    hd95_voxel: float | None = None
    asd_voxel: float | None = None
    assd_voxel: float | None = None
    hd95_mm: float | None = None
    asd_mm: float | None = None
    assd_mm: float | None = None
    nsd: float | None = None

    @property
    def missed(self) -> int:
        """1 when the structure is in one of the two masks only (missed or spurious), else 0."""
        return int(self.kind in {"missed", "spurious"})


class Rules(NamedTuple):
    """The choices that scores depend on."""

    tolerance_mm: float = 2.0
    """Distance up to which a surface element agrees, for NSD."""
    legacy: bool = False
    """The literature's zero rule for absent structures."""


def class_metrics(
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Iterable[int],
    *,
    spacing_mm: Sequence[float] | None,
    rules: Rules | None = None,
) -> dict[int, CaseMetrics]:
    """Score every class of one case. Work is done in the box around both structures, which changes no number.

    Args:
        prediction: integer label map, (X, Y) or (X, Y, Z).
        reference: integer label map of the same shape.
        classes: label values >= 1.
        spacing_mm: voxel size along each axis; None when unknown: measures in mm are then None.
        rules: tolerance and rule for absent structures.

    Raises:
        ValueError: when the shapes differ, a class is < 1, or the spacing does not fit the shape.
    """
    classes, rules = list(classes), rules or Rules()
    if prediction.shape != reference.shape:
        raise ValueError(f"label maps of one shape expected, got {prediction.shape} and {reference.shape}")
    if any(value < 1 for value in classes):
        raise ValueError(f"classes >= 1 expected, got {classes}")
    if spacing_mm is not None and (len(spacing_mm) != reference.ndim or min(spacing_mm) <= 0):
        raise ValueError(f"expected {reference.ndim} positive spacings, got {tuple(spacing_mm)}")
    if reference.flags.f_contiguous:  # as files are read; everything below is fastest the other way round
        prediction, reference = prediction.T, reference.T
        spacing_mm = None if spacing_mm is None else tuple(spacing_mm)[::-1]
    highest = max(classes, default=0)
    boxes = [ndimage.find_objects(labels, max_label=highest) for labels in (prediction, reference)]
    scores = {}
    for value in classes:
        box = _joint_box(boxes[0][value - 1], boxes[1][value - 1])
        masks = np.ascontiguousarray(prediction[box] == value), np.ascontiguousarray(reference[box] == value)
        overlap = count_overlap(*masks, image_voxels=reference.size)
        scores[value] = _score(masks, overlap, _Image(reference.shape, spacing_mm), rules)
    return scores


class _Image(NamedTuple):
    shape: tuple[int, ...]
    spacing_mm: Sequence[float] | None

    @property
    def diagonal_voxel(self) -> float:
        return math.hypot(*self.shape)

    @property
    def diagonal_mm(self) -> float | None:
        if self.spacing_mm is None:
            return None
        return math.hypot(*(size * step for size, step in zip(self.shape, self.spacing_mm, strict=True)))


def _joint_box(first: Box | None, second: Box | None) -> Box:
    if first is None or second is None:
        return first or second or (slice(0, 0),)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _score(masks: tuple[np.ndarray, np.ndarray], overlap: Overlap, image: _Image, rules: Rules) -> CaseMetrics:
    if overlap.prediction_voxels and overlap.reference_voxels:
        voxel = surface_distances(*masks)
        mm = _in_mm(masks, voxel, image.spacing_mm)
        return CaseMetrics(
            "ok", overlap, overlap.dice, overlap.jaccard, voxel.hd95, voxel.asd, voxel.assd,
            *((mm.hd95, mm.asd, mm.assd, mm.nsd(rules.tolerance_mm)) if mm else ()),
        )
    kind = kind_of(overlap)
    mm_known = image.spacing_mm is not None
    if rules.legacy:
        return CaseMetrics(kind, overlap, *(0.0,) * 5, *(0.0,) * (4 * mm_known))
    if kind == "empty":
        return CaseMetrics(kind, overlap)
    return CaseMetrics(
        kind, overlap, 0.0, 0.0, *(image.diagonal_voxel,) * 3, *(image.diagonal_mm,) * 3, 0.0 if mm_known else None
    )


def kind_of(overlap: Overlap) -> Kind:
    """Which of the two masks is empty, as a word."""
    if overlap.reference_voxels:
        return "ok" if overlap.prediction_voxels else "missed"
    return "spurious" if overlap.prediction_voxels else "empty"


def _in_mm(
    masks: tuple[np.ndarray, np.ndarray], voxel: SurfaceDistances, spacing_mm: Sequence[float] | None
) -> SurfaceDistances | None:
    if spacing_mm is None:
        return None
    if len(set(spacing_mm)) == 1:
        return voxel.scaled(spacing_mm[0])
    return surface_distances_mm(*masks, spacing_mm)
