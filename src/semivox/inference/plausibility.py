"""Signs that a scan is not of the kind that the network was trained with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semivox.imaging.files import Scan
from semivox.imaging.geometry import Orientation
from semivox.imaging.plan import ChannelPlan, Plan

SPACING_RATIO = 3.0
PLAUSIBLE_SPACING_MM = (0.05, 20.0)
EXPECTED_SHARE = 0.01
"""A CT of the trained region has at least this share of its voxels in the range of the training's foreground."""


def scan_warnings(scans: Sequence[Scan], orientation: Orientation, plan: Plan, *, subject: str) -> tuple[str, ...]:
    """One line for each thing that makes a good segmentation unlikely: spacing, intensities, an empty scan."""
    problems = [_spacing_problem(scans[0], orientation, plan)]
    problems += [_intensity_problem(scan.array, channel) for scan, channel in zip(scans, plan.channels, strict=True)]
    return tuple(f"WARNING SVX-{code}  {subject}: {problem}.  Fix: {fix}."
                 for code, problem, fix in filter(None, problems))


def _spacing_problem(scan: Scan, orientation: Orientation, plan: Plan) -> tuple[str, str, str] | None:
    geometry = scan.geometry
    if not geometry.spacing_known:
        if plan.spacing_mm is None:
            return None
        return "P4", "the file does not say its spacing, so it is not resampled", "set the spacing in the file's header"
    spacing = [geometry.spacing_mm[axis] for axis in orientation.axes]
    found = " x ".join(f"{value:.3g}" for value in spacing) + " mm"
    low, high = PLAUSIBLE_SPACING_MM
    if min(spacing) < low or max(spacing) > high:
        return "P4", f"spacing {found} is implausible, expected {low:g} to {high:g} mm", "check the unit of the spacing"
    ratios = [a / b for a, b in zip(spacing, plan.spacing_mm or spacing, strict=True)]
    if max(*ratios, *(1 / ratio for ratio in ratios)) <= SPACING_RATIO:
        return None
    trained = " x ".join(f"{value:.3g}" for value in plan.spacing_mm or ())
    return ("P4", f"spacing {found} is far from the training's {trained} mm (more than {SPACING_RATIO:g} times)",
            "check the unit of the spacing, and inspect the result")


def _intensity_problem(array: np.ndarray, channel: ChannelPlan) -> tuple[str, str, str] | None:
    lowest, highest = float(array.min()), float(array.max())
    if lowest == highest:
        return "I19", f"all voxels of channel {channel.name} are {lowest:g}", "check that this is the right file"
    if channel.scheme != "ct":
        return None  # other schemes normalize each scan by itself, or the scans came normalized
    low, high = channel.percentile_00_5, channel.percentile_99_5
    share = float(((array >= low) & (array <= high)).mean())
    if share >= EXPECTED_SHARE:
        return None
    score = (float(array.mean(dtype=np.float64)) - channel.mean) / max(channel.std, 1e-6)
    return ("P3", f"only {share:.2%} of channel {channel.name} lies in the training's range {low:g} to {high:g}"
            f" (mean {score:+.1f} standard deviations away)", "check modality and intensity offset (Hounsfield units)")
