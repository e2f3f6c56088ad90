"""Masks that do not look like the others: flipped or shifted against their image (I29), two classes swapped (I34).

A header cannot show these. Each class of each mask is described by contrast, position and size; a case is named
only when it is far outside what the other cases do, so that every warning is worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.data.checks.labels import FLIPS, ClassFacts
from semivox.data.problems import Problem

MIN_CASES = 8
"""Fewer cases than this say nothing about what is usual."""
FAR = 8.0
"""Robust standard deviations beyond which contrast or position is an outlier."""
FLOOR = np.array([0.25, 0.025, 0.025, 0.025, 0.3])
"""Least standard deviation for contrast, position (3) and log share: very uniform datasets are not stricter."""
SWAP_GAIN = 9.0
"""A swap is named when it fits the other cases this many times better (squared distance) than the mask as it is."""
FLIP_DISTANCE, FLIP_GAIN = 25.0, 4.0
"""A flip is named when the mask is so far from the others (squared) and the flipped one so many times nearer."""
AXIS_NAMES = ("left-right", "front-back", "foot-head")
MAX_SWAP_CLASSES = 50


class Reference(NamedTuple):
    """What is usual for one class: median and robust standard deviation of its features."""

    center: NDArray[np.float64]
    spread: NDArray[np.float64]


def outlier_problems(cases: Mapping[str, dict[int, ClassFacts]], class_names: Sequence[str]) -> list[Problem]:
    """Compare the masks of one dataset.

    Args:
        cases: by the mask's path, the facts of its classes.
        class_names: by value.

    Returns:
        Warnings I34 and I29, at most one for each mask.
    """
    features = {path: {value: _features(facts) for value, facts in classes.items()} for path, classes in cases.items()}
    references = _references(features)
    found = []
    for path, classes in features.items():
        known = {value: row for value, row in classes.items() if value in references}
        problem = (_swap(path, known, references, class_names=class_names)
                   or _flipped(path, cases[path], references, class_names=class_names)
                   or _misplaced(path, known, references, class_names=class_names))
        found += [problem] if problem else []
    return found


def _features(facts: ClassFacts) -> NDArray[np.float64]:
    return np.array([facts.contrast, *facts.centroid, facts.log_share])


def _references(features: Mapping[str, dict[int, NDArray[np.float64]]]) -> dict[int, Reference]:
    references = {}
    for value in sorted({value for classes in features.values() for value in classes}):
        rows = np.array([classes[value] for classes in features.values() if value in classes])
        if len(rows) >= MIN_CASES:
            center = np.median(rows, axis=0)
            spread = 1.4826 * np.median(np.abs(rows - center), axis=0)
            references[value] = Reference(center, np.maximum(spread, FLOOR))
    return references


def _deviation(row: NDArray[np.float64], reference: Reference) -> NDArray[np.float64]:
    """Robust standard deviations of the first features, as many as ``row`` has."""
    return (row - reference.center[: row.size]) / reference.spread[: row.size]


def _swap(path: str, classes: Mapping[int, NDArray[np.float64]], references: Mapping[int, Reference],
          *, class_names: Sequence[str]) -> Problem | None:
    best: tuple[float, int, int] | None = None
    for first, second in combinations(sorted(classes)[:MAX_SWAP_CLASSES], 2):
        one, two = references[first], references[second]
        straight = _distance(classes[first], one) + _distance(classes[second], two)
        crossed = _distance(classes[first], two) + _distance(classes[second], one)
        gain = straight / max(crossed, 1.0)
        if straight > FAR**2 and gain > SWAP_GAIN and (best is None or gain > best[0]):
            best = (gain, first, second)
    if best is None:
        return None
    names = " and ".join(f"{value} ({_name(value, class_names)})" for value in best[1:])
    return Problem("I34", "warning", path, f"the classes {names} look swapped: position, size and brightness of each "
                   "are those the other has in the other masks", "look at this mask and exchange the two values")


def _distance(row: NDArray[np.float64], reference: Reference) -> float:
    return float((_deviation(row, reference) ** 2).sum())


def _flipped(path: str, classes: Mapping[int, ClassFacts], references: Mapping[int, Reference],
             *, class_names: Sequence[str]) -> Problem | None:
    for value, facts in classes.items():
        if value not in references:
            continue
        reference, row = references[value], _features(facts)
        as_is = _distance(row[:4], reference)
        nearest, flip = min((_distance(_flipped_features(facts, index), reference), flip)
                            for index, flip in enumerate(FLIPS))
        if as_is > FLIP_DISTANCE and as_is > FLIP_GAIN * max(nearest, 1.0):
            axes = " and ".join(AXIS_NAMES[axis] for axis in flip)
            return Problem("I29", "warning", path, f"{_name(value, class_names)} looks flipped against the image: "
                           f"mirrored {axes}, its place and brightness are those of the other masks",
                           "look at image and mask together, and flip the mask back")
    return None


def _flipped_features(facts: ClassFacts, index: int) -> NDArray[np.float64]:
    centroid = [1 - place if axis in FLIPS[index] else place for axis, place in enumerate(facts.centroid)]
    return np.array([facts.flipped_contrast[index], *centroid])


def _misplaced(path: str, classes: Mapping[int, NDArray[np.float64]], references: Mapping[int, Reference],
               *, class_names: Sequence[str]) -> Problem | None:
    for value, row in classes.items():
        deviation = _deviation(row, references[value])
        contrast, position = abs(float(deviation[0])), float(np.abs(deviation[1:4]).max())
        if max(contrast, position) <= FAR:
            continue
        if contrast >= position:
            what = f"brightness inside {_name(value, class_names)} is {contrast:.1f}"
        else:
            axis = AXIS_NAMES[int(np.abs(deviation[1:4]).argmax())]
            what = f"position of {_name(value, class_names)} ({axis}) is {position:.1f}"
        return Problem("I29", "warning", path, f"the {what} standard deviations from that in the other masks: the "
                       "mask may be flipped or shifted against its image", "look at image and mask together")
    return None


def _name(value: int, class_names: Sequence[str]) -> str:
    return class_names[value] if value < len(class_names) else f"class {value}"
