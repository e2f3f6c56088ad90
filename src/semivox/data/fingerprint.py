"""The fingerprint of a dataset: grids and intensities of its training images, labeled and unlabeled.

Test images and label maps are never read for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.imaging.files import Scan
from semivox.imaging.geometry import to_lps
from semivox.seeding import numpy_generator

FORMAT = 1
SAMPLES_PER_CASE = 20_000
"""Voxels of each channel of a case that enter the intensity statistics of the dataset."""
CT_WORDS = frozenset({"ct", "cta", "cect", "ncct", "hu"})
CT_AIR_HU = -900
"""Voxels of CT channels below this value (air around the patient) do not enter mean, std and percentiles."""
MIN_TISSUE_SHARE = 0.01


class CaseSummary(NamedTuple):
    """What one case adds to the fingerprint."""

    name: str
    shape: tuple[int, int, int]
    """Voxels, in LPS axis order."""
    spacing_mm: tuple[float, float, float]
    """In LPS axis order."""
    spacing_known: bool
    samples: NDArray[np.float32]
    """(C, n) voxel values at seeded random positions (the same positions in each channel)."""
    extremes: tuple[tuple[float, float], ...]
    """Minimum and maximum of each channel over all voxels."""


class ChannelStatistics(NamedTuple):
    """Intensities of one channel over all training images, of CT without air. Each image has the same weight."""

    name: str
    mean: float
    std: float
    percentile_00_5: float
    percentile_50: float
    percentile_99_5: float
    minimum: float
    maximum: float


class CaseGrid(NamedTuple):
    """Size and spacing of one case, in LPS axis order."""

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    spacing_known: bool


class Fingerprint(NamedTuple):
    """What planning knows of a dataset."""

    cases: tuple[CaseGrid, ...]
    channels: tuple[ChannelStatistics, ...]

    @property
    def spacing_known(self) -> bool:
        """Whether every file states its spacing."""
        return all(case.spacing_known for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """A JSON value for people to read: the medians first, then channels and cases."""
        return {
            "format": FORMAT, "case_count": len(self.cases), "spacing_known": self.spacing_known,
            "median_shape": [float(value) for value in np.median([case.shape for case in self.cases], axis=0)],
            "median_spacing_mm": [float(mm) for mm in np.median([case.spacing_mm for case in self.cases], axis=0)],
            "channels": [channel._asdict() for channel in self.channels],
            "cases": [case._asdict() for case in self.cases],
        }


def is_ct(channel_name: str) -> bool:
    """Whether a word of the channel's name says that it holds Hounsfield units: ``"CT"``, ``"CTA venous"``."""
    return bool(CT_WORDS.intersection(re.split(r"[^a-z]+", channel_name.lower())))


def summarize_case(name: str, scans: Sequence[Scan]) -> CaseSummary:
    """Read grid and intensities of one case.

    Args:
        name: the case's name; it seeds the choice of voxels.
        scans: one scan for each channel, on one grid.
    """
    turned, geometry, _ = to_lps(scans[0].array, scans[0].geometry)
    size = scans[0].array.size
    positions = np.sort(numpy_generator(0, "fingerprint", name).integers(0, size, min(SAMPLES_PER_CASE, size)))
    voxels = np.unravel_index(positions, scans[0].array.shape)
    samples = np.stack([scan.array[voxels] for scan in scans])
    x, y, z = turned.shape
    return CaseSummary(
        name=name, shape=(x, y, z), spacing_mm=geometry.spacing_mm, spacing_known=geometry.spacing_known,
        samples=samples.astype(np.float32), extremes=tuple(_extremes(scan.array) for scan in scans))


def merge_summaries(summaries: Iterable[CaseSummary], channel_names: Sequence[str]) -> Fingerprint:
    """Put the cases together; their order does not matter.

    Args:
        summaries: one per training case, at least one.
        channel_names: one per channel.
    """
    ordered = sorted(summaries, key=lambda summary: summary.name)
    channels = []
    for index, name in enumerate(channel_names):
        rows = [_without_air(item.samples[index]) if is_ct(name) else item.samples[index] for item in ordered]
        values = np.concatenate([_equal_count(row) for row in rows]).astype(np.float64)
        low, middle, high = (float(value) for value in np.percentile(values, (0.5, 50, 99.5)))
        channels.append(ChannelStatistics(
            name=name, mean=float(values.mean()), std=float(values.std()), percentile_00_5=low, percentile_50=middle,
            percentile_99_5=high, minimum=min(summary.extremes[index][0] for summary in ordered),
            maximum=max(summary.extremes[index][1] for summary in ordered)))
    grids = [CaseGrid(item.name, item.shape, item.spacing_mm, item.spacing_known) for item in ordered]
    return Fingerprint(tuple(grids), tuple(channels))


def _equal_count(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a small scan's samples to the common number by repeating them, so that each case weighs the same."""
    return np.resize(samples, SAMPLES_PER_CASE)


def _without_air(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    tissue = samples[samples >= CT_AIR_HU]
    return tissue if len(tissue) > MIN_TISSUE_SHARE * len(samples) else samples


def _extremes(array: NDArray[np.float32]) -> tuple[float, float]:
    return float(array.min()), float(array.max())
