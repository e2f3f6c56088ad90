"""Which patch sizes a network can take. Used before any network is built, so nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from semivox.errors import UsageError
from semivox.networks.table import ENTRIES, MONAI_MULTIPLES, find_entry, monai_class_name


def required_multiple(name: str, options: Mapping[str, Any] | None = None) -> int:
    """What each side of a patch must be a multiple of, in voxels.

    Args:
        name: a key of ``NETWORKS``, or ``"monai:<Class>"``.
        options: constructor options of a MONAI network; explicit ``strides`` or ``blocks_down`` change the answer.

    Raises:
        UsageError: unknown name.
    """
    monai = monai_class_name(name)
    if monai is None:
        return find_entry(name).multiple
    strides = level_option(options or {}, "strides")
    if strides:
        return math.prod(max(stride) for stride in strides)
    blocks = level_option(options or {}, "blocks_down")
    if blocks and monai.startswith("SegResNet"):
        return int(2 ** (len(blocks) - 1))
    return MONAI_MULTIPLES[monai]


def level_option(options: Mapping[str, Any], key: str) -> tuple[tuple[int, ...], ...]:
    """An option with one entry for each resolution: each entry as a tuple, one number or one for each axis.

    Returns:
        Empty when the option is not given.

    Raises:
        UsageError: not a list of positive whole numbers, or of lists of them.
    """
    value = options.get(key, ())
    levels = value if isinstance(value, list | tuple) else (None,)
    entries = tuple(tuple(level) if isinstance(level, list | tuple) else (level,) for level in levels)
    numbers = [number for entry in entries for number in entry or (None,)]
    if (key in options and not entries) or not all(isinstance(number, int) and number > 0 for number in numbers):
        problem = f"expected a list of positive whole numbers, one for each resolution, found {value!r}"
        raise UsageError("C2", f"network.options.{key}", problem, "for example [1, 2, 2, 2, 2]")
    return entries


def check_patch_size(name: str, patch_size: Sequence[int], options: Mapping[str, Any] | None = None) -> None:
    """Refuse a patch that the network cannot take.

    Args:
        name: a key of ``NETWORKS``, or ``"monai:<Class>"``.
        patch_size: voxels (X, Y, Z); of a network for two dimensions Z is 1.
        options: constructor options of a MONAI network.

    Raises:
        UsageError: unknown name; a side that is not a positive multiple of what the network needs, with the nearest
            legal size; a patch so small that nothing but one voxel is left at the coarsest resolution of a network
            which normalizes over space.
    """
    multiple = required_multiple(name, options)
    found = tuple(patch_size)
    sides = [_nearest(side, multiple) for side in found]
    if _is_flat(name, found):
        sides[-1] = 1
    if found != tuple(sides):
        needs = "" if sides[-1] != 1 else " in X and Y, and 1 in Z"
        problem = f"{name} needs multiples of {multiple}{needs}, found {found}"
        raise UsageError("C2", "patch_size", problem, f"nearest: {tuple(sides)}")
    entry = ENTRIES.get(name)
    if multiple > 1 and all(side in {1, multiple} for side in sides) and not (entry and entry.single_voxel):
        larger = tuple(side if side == 1 else 2 * side for side in sides)
        raise UsageError("C2", "patch_size", f"{name} leaves a single voxel of {found}", f"nearest: {larger}")


def _nearest(side: int, multiple: int) -> int:
    """The nearest positive multiple, the larger one of two."""
    return max((2 * side + multiple) // (2 * multiple), 1) * multiple


def _is_flat(name: str, patch_size: tuple[int, ...]) -> bool:
    """Whether the last entry is the 1 of a slice (or must become it)."""
    entry = ENTRIES.get(name)
    if entry is not None:
        return entry.dimensions == 2 and len(patch_size) == 3
    return len(patch_size) == 3 and patch_size[-1] == 1
