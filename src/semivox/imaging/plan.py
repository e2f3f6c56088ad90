"""The plan: how scans become network input and predictions become label maps. Readable JSON that users may edit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from semivox.errors import UsageError
from semivox.fsio import read_json
from semivox.settings import (
    Fraction,
    FractionBelowOne,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from semivox.strict import load_strictly

FORMAT = 1
Name = Annotated[str, Len(1)]
Intensity = Literal["stored", "minmax"]


@dataclass(frozen=True, kw_only=True)
class ChannelPlan(Settings):
    """How one channel is normalized."""

    name: Name
    """What the channel holds, for example ``"CT"``."""
    scheme: Literal["zscore", "ct", "minmax", "none"]
    """See ``semivox.imaging.normalize.normalize``."""
    mean: float
    """Of the foreground over the data set; used by ``ct``."""
    std: NonNegativeFloat
    """Of the foreground over the data set; used by ``ct``."""
    percentile_00_5: float
    """Lower clipping value; used by ``ct``."""
    percentile_99_5: float
    """Upper clipping value; used by ``ct``."""

    def __post_init__(self) -> None:
        if self.percentile_00_5 > self.percentile_99_5:
            raise ValueError(
                f"percentile_00_5 = {self.percentile_00_5:g} lies above percentile_99_5 = {self.percentile_99_5:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """Everything that preparation and prediction must agree on."""

    format: Annotated[int, Ge(FORMAT), Le(FORMAT)] = FORMAT
    """Version of this layout."""
    recipe: Name
    """Name of the recipe that made the plan."""
    dimensions: Literal[2, 3]
    """2: slices along the last axis; 3: volumes."""
    channels: Annotated[tuple[ChannelPlan, ...], Len(1)]
    """One entry for each image channel, in the order of the files ``_0000``, ``_0001``, ..."""
    class_names: Annotated[tuple[Name, ...], Len(2)]
    """Index 0 is the background."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None
    """Voxel size that scans are resampled to, in LPS axis order; null keeps each scan's own grid."""
    spacing_known: bool
    """False when the files say nothing about their spacing."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Voxels of one network input; the last entry is 1 for two dimensions."""
    strides: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Step of the sliding window in voxels; null takes ``overlap``."""
    overlap: FractionBelowOne = 0.5
    """Share of the patch by which neighboring windows overlap when ``strides`` is null."""
    window: Literal["uniform", "gaussian"] = "gaussian"
    """Weight of the voxels of a window."""
    labeled_per_batch: PositiveInt
    """Labeled patches of a training batch."""
    unlabeled_per_batch: NonNegativeInt
    """Unlabeled patches of a training batch."""
    foreground_fraction: Fraction = 0.0
    """Share of labeled patches that are centered on a foreground voxel."""
    network: Name
    """Name of the network, for example ``"vnet"``."""
    intensity: Intensity = "stored"
    """Applied after normalization and resampling, to the network's input: ``stored`` changes nothing, ``minmax`` takes
    each scan and channel from its minimum and maximum to 0 and 1. Stored arrays are without it."""
    largest_component: bool = False
    """Whether predictions keep, of each foreground class, the largest connected component alone (26 neighbors, on the
    network's grid). A run's plan takes it from its method."""

    def __post_init__(self) -> None:
        if self.dimensions == 2 and self.patch_size[2] != 1:
            raise ValueError(f"patch_size ends with {self.patch_size[2]}, it must end with 1 for dimensions = 2")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names must differ from each other, found {', '.join(self.class_names)}")
        wide = [axis for axis in range(3) if self.strides and self.strides[axis] > self.patch_size[axis]]
        if wide and self.strides:
            raise ValueError(
                f"strides = {list(self.strides)} leaves gaps, each entry must be at most that of"
                f" patch_size = {list(self.patch_size)}"
            )

    @property
    def classes(self) -> int:
        """K, background included."""
        return len(self.class_names)


def load_plan(path: Path) -> Plan:
    """Read a plan strictly.

    Raises:
        InputError: the file is missing or is not strict JSON.
        UsageError: a key is unknown or missing, or a value is not legal; names the file and the key.
    """
    return plan_from_json(read_json(path), source=str(path))


def plan_from_json(content: Any, *, source: str = "plan.json") -> Plan:
    """Build a plan from parsed JSON; ``source`` is named in errors.

    Raises:
        UsageError: C1 for an unknown key, C2 for a missing key or a value that is not legal.
    """
    if not isinstance(content, dict):
        raise UsageError("C2", source, f"holds a {type(content).__name__}, expected an object with the plan's keys",
                         "write the plan again with 'semivox prepare'")
    if content.get("format", FORMAT) != FORMAT:
        raise UsageError("C2", source, f"format = {content['format']!r}, this version reads {FORMAT}",
                         "write the plan again with 'semivox prepare'")
    return load_strictly(Plan, content, source=source)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; ``plan_from_json`` is the inverse."""
    return dataclasses.asdict(plan)
