"""Checks of images: constant ones (I19), intensities (I20), small ones (I21), odd spacings (I12, I22)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.data.problems import Problem
from semivox.imaging.files import Scan
from semivox.wording import count_of, first_names

CONSTANT_SHARE = 0.999
SMALL_AXIS_VOXELS = 16
"""Four halvings of the resolution, as in the V-Net, need 16 voxels."""
ANISOTROPY_LIMIT = 8.0
SPACING_FACTOR = 10.0
RANGE_FACTOR = 50.0
MIN_CASES = 8
"""Fewer cases than this say nothing about what is usual."""
SAMPLE_VOXELS = 200_000


class ImageFacts(NamedTuple):
    """What later checks need to know about one channel of one case."""

    path: str
    """Relative to the dataset's root."""
    channel: int
    digest: str
    """Of the shape and the decoded float32 voxels: equal for equal scans in other files."""
    constant: bool
    minimum: float
    maximum: float
    low: float
    """0.5th percentile."""
    high: float
    """99.5th percentile."""


class Grid(NamedTuple):
    """The sampling of one case, as far as it could be read."""

    case: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    spacing_known: bool


def image_facts(scan: Scan, path: str, *, channel: int) -> ImageFacts:
    """Digest and intensity statistics of one channel. Percentiles come from at most about 200,000 voxels."""
    values = scan.array
    flat = values.reshape(-1, order="A")
    step = max(1, flat.size // SAMPLE_VOXELS)
    sample = flat[::step]
    low, middle, high = (float(value) for value in np.percentile(sample, (0.5, 50, 99.5), method="nearest"))
    # A value that more than half of the voxels have is the median.
    share = float(np.count_nonzero(flat == np.float32(middle))) / flat.size
    return ImageFacts(path, channel, voxel_digest(values), share > CONSTANT_SHARE,
                      float(flat.min()), float(flat.max()), low, high)


def voxel_digest(values: NDArray[np.float32]) -> str:
    """SHA-256 of shape and voxels of an (X, Y, Z) float32 array, independent of its memory order and of -0.0."""
    digest = hashlib.sha256(str(values.shape).encode())
    for plane in np.moveaxis(values, -1, 0):
        digest.update(np.ascontiguousarray(plane.T + np.float32(0)).data)
    return digest.hexdigest()


def constant_problem(facts: ImageFacts, *, test: bool) -> list[Problem]:
    """I19: nothing can be learned from an image of one value; a test image is predicted all the same."""
    if not facts.constant:
        return []
    what = "every voxel has" if facts.minimum == facts.maximum else "more than 99.9 % of the voxels have"
    return [Problem("I19", "warning" if test else "error", facts.path, f"{what} one value (range {facts.minimum:g} to "
                    f"{facts.maximum:g})", "export the scan again, or remove the case")]


def grid_problems(grids: Sequence[Grid]) -> list[Problem]:
    """Unknown orientation (I12), small images (I21), anisotropy and unusual spacing (I22) over all cases."""
    found = _unknown_spacing(grids) + _small(grids)
    known = [grid for grid in grids if grid.spacing_known]
    for grid in known:
        ratio = max(grid.spacing_mm) / min(grid.spacing_mm)
        if ratio > ANISOTROPY_LIMIT:
            found.append(Problem("I22", "warning", grid.case, f"spacing {_by(grid.spacing_mm)} mm is very anisotropic "
                                 f"(ratio {ratio:.1f}, usual is up to {ANISOTROPY_LIMIT:g})",
                                 "check the spacing in the header; if it is right, nothing to do"))
    return found + _unusual_spacing(known)


def intensity_problems(channel: str, images: Sequence[ImageFacts]) -> list[Problem]:
    """I20 for one channel: values no CT has, or a range far from that of the other cases."""
    if channel.strip().upper() == "CT":
        return [Problem("I20", "warning", facts.path, f"intensities {facts.minimum:g} to {facts.maximum:g} are not "
                        "Hounsfield units, expected air (below -200) and tissue (above 0)",
                        "apply rescale slope and intercept when exporting, or name the channel otherwise than CT")
                for facts in images if facts.minimum > -200 or facts.maximum < 0]
    usual = [facts for facts in images if facts.high > facts.low]
    if len(usual) < MIN_CASES:
        return []
    ranges = np.array([facts.high - facts.low for facts in usual])
    median = float(np.median(ranges))
    odd = [(facts, width) for facts, width in zip(usual, ranges, strict=True)
           if not median / RANGE_FACTOR <= width <= median * RANGE_FACTOR]
    return [Problem("I20", "warning", facts.path, f"intensities span {width:.3g} (0.5th to 99.5th percentile), the "
                    f"median of the dataset is {median:.3g}", "check that this scan has the same units as the others")
            for facts, width in odd]


def _unknown_spacing(grids: Sequence[Grid]) -> list[Problem]:
    names = [grid.case for grid in grids if not grid.spacing_known]
    if not names or len(names) == len(grids):
        return []
    return [Problem("I12", "warning", name, "the file does not say how the scan lies in space, other cases do",
                    "export the scan with its position and spacing") for name in names]


def _small(grids: Sequence[Grid]) -> list[Problem]:
    small = [grid for grid in grids if min(grid.shape) < SMALL_AXIS_VOXELS]
    if not small:
        return []
    least = min(small, key=lambda grid: min(grid.shape))
    return [Problem("I21", "note", least.case, f"{count_of(len(small), 'case')} with an axis below "
                    f"{SMALL_AXIS_VOXELS} voxels, the smallest is {' x '.join(map(str, least.shape))}; such scans are "
                    f"padded: {first_names(grid.case for grid in small)}", "nothing to do")]


def _unusual_spacing(grids: Sequence[Grid]) -> list[Problem]:
    if len(grids) < 3:
        return []
    found = []
    median = np.median([sorted(grid.spacing_mm) for grid in grids], axis=0)
    for grid in grids:
        factor = np.asarray(sorted(grid.spacing_mm)) / median
        if factor.max() >= SPACING_FACTOR or factor.min() <= 1 / SPACING_FACTOR:
            found.append(Problem("I22", "warning", grid.case, f"spacing {_by(grid.spacing_mm)} mm is a factor of "
                                 f"{SPACING_FACTOR:g} or more off the dataset's median {_by(median)} mm",
                                 "check the unit of the spacing in the header (mm, not cm or m)"))
    return found


def _by(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " x ".join(f"{value:g}" for value in values)
