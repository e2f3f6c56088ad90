"""Checks of masks: undeclared values (I31), empty and full ones (I32), specks (I35)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.data.problems import Problem
from semivox.imaging.files import Scan
from semivox.imaging.geometry import to_lps
from semivox.wording import first_names

SPECK_VOXELS = 10
FLIPS = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""Every way to flip a mask: along left-right (0), front-back (1) and foot-head (2)."""
SAMPLE_VOXELS = 100_000


class ClassFacts(NamedTuple):
    """Where and how one class lies in one scan; masks of one dataset resemble each other in these numbers."""

    contrast: float
    """(mean inside - mean of the scan) / standard deviation of the scan, first channel."""
    centroid: tuple[float, float, float]
    """Center of mass as a share of the scan's extent to left, posterior and superior, 0..1."""
    log_share: float
    """Logarithm of the class's share of the voxels."""
    flipped_contrast: tuple[float, ...]
    """What the contrast would be with the mask flipped along the axes of each entry of ``FLIPS``."""


class LabelFacts(NamedTuple):
    """What later checks need to know about one mask."""

    counts: dict[int, int]
    """Voxels by value."""
    specks: tuple[int, ...]
    """Classes that have isolated voxels only."""
    classes: dict[int, ClassFacts]
    """By value, foreground only; empty when the image could not be read."""


def label_facts(label: Scan) -> LabelFacts:
    """Count the values of a mask and find the classes that are specks."""
    values, counts = np.unique(label.array, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    joined = _classes_with_neighbors(label.array)
    return LabelFacts(found, tuple(value for value in found if value and value not in joined), {})


def class_facts(label: Scan, image: Scan, counts: dict[int, int]) -> dict[int, ClassFacts]:
    """Contrast, position and size of each class of a mask that lies on the grid of ``image``.

    Contrasts come from at most about 100,000 voxels of a class.
    """
    labels, _, orientation = to_lps(label.array, label.geometry)
    values = orientation.apply(image.array)
    mean, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    shape = labels.shape
    facts = {}
    for value in sorted(set(counts) - {0}):
        inside = np.nonzero(labels == value)
        first, second, third = ((float(axis.mean()) + 0.5) / size for axis, size in zip(inside, shape, strict=True))
        step = max(1, inside[0].size // SAMPLE_VOXELS)
        sample = tuple(axis[::step] for axis in inside)
        means = [_mean_at(values, sample, flip) for flip in ((), *FLIPS)]
        contrast, *flipped = ((inner - mean) / max(spread, 1e-12) for inner in means)
        facts[value] = ClassFacts(contrast, (first, second, third), float(np.log(inside[0].size / labels.size)),
                                  tuple(flipped))
    return facts


def _mean_at(values: NDArray[np.float32], places: tuple[NDArray[np.intp], ...], flip: tuple[int, ...]) -> float:
    """Mean of ``values`` at places that are mirrored along some axes."""
    mirrored = tuple(values.shape[axis] - 1 - place if axis in flip else place for axis, place in enumerate(places))
    return float(values[mirrored].mean(dtype=np.float64))


def label_problems(subject: str, facts: LabelFacts, *, class_names: Sequence[str] | None) -> list[Problem]:
    """What is wrong with one mask by itself; with ``class_names`` None every value is allowed."""
    found = []
    if class_names is not None:
        found += _undeclared(subject, facts.counts, class_names)
    total, background = sum(facts.counts.values()), facts.counts.get(0, 0)
    if background == total:
        found.append(Problem("I32", "warning", subject, f"the mask is all background ({total:,} voxels of value 0)",
                             "if the structure is there, replace the mask or remove it (the image is then unlabeled)"))
    if background == 0:
        found.append(Problem("I32", "warning", subject, "the mask has no background: every voxel is labeled",
                             "check that background is 0 in the mask"))
    found += _specks(subject, facts, class_names)
    return found


def all_empty_problem(labels: Sequence[LabelFacts]) -> list[Problem]:
    """I32 as an error: not one of several training masks has both background and foreground."""
    useless = [set(facts.counts) == {0} or 0 not in facts.counts for facts in labels]
    if not labels or not all(useless):
        return []
    return [Problem("I32", "error", "labelsTr", f"all {len(labels)} training masks are all background or all "
                    "foreground", "replace the masks: at least one must hold both")]


def _undeclared(subject: str, counts: dict[int, int], class_names: Sequence[str]) -> list[Problem]:
    extra = sorted(value for value in counts if value >= len(class_names))
    if not extra:
        return []
    listing = first_names((f"{value} ({_voxels(counts[value])})" for value in extra), 8)
    declared = first_names((f"{value} {name}" for value, name in enumerate(class_names)), 8)
    present = set(counts) - set(extra)
    free = [value for value in range(1, len(class_names)) if value not in present]
    mapping = ", ".join(f"{value} to {new}" for value, new in zip(extra, free, strict=False))
    fix = f"change {mapping} in the mask, or " if len(free) >= len(extra) else ""
    return [Problem("I31", "error", subject, f"the mask holds values that are not declared: {listing}; declared are "
                    f"{declared}", f"{fix}declare the {'value' if len(extra) == 1 else 'values'} under \"labels\" in "
                    "dataset.json")]


def _specks(subject: str, facts: LabelFacts, class_names: Sequence[str] | None) -> list[Problem]:
    parts = []
    for value, count in facts.counts.items():
        name = class_names[value] if class_names is not None and value < len(class_names) else f"class {value}"
        if value and count < SPECK_VOXELS:
            parts.append(f"{name} has {_voxels(count)}")
        elif value in facts.specks:
            parts.append(f"{name} has {_voxels(count)}, none touching another")
    if not parts:
        return []
    return [Problem("I35", "warning", subject, f"only specks: {first_names(parts)}", "remove stray voxels in the mask")]


def _voxels(count: int) -> str:
    return f"{count:,} voxel{'s' * (count != 1)}"


def _classes_with_neighbors(labels: NDArray[np.integer]) -> set[int]:
    joined: set[int] = set()
    for axis in range(labels.ndim):
        lines = np.moveaxis(labels, axis, 0)
        same = (lines[1:] == lines[:-1]) & (lines[1:] > 0)
        joined.update(np.unique(lines[1:][same]).tolist())
    return joined
