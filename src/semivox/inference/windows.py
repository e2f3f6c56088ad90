"""Where sliding windows lie, and how much each voxel of a window counts. Arrays are in index order (X, Y, Z)."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from semivox.errors import UsageError

if TYPE_CHECKING:
    from semivox.imaging.plan import Plan

Importance = Literal["uniform", "gaussian"]
GAUSSIAN_SIGMA_PER_PATCH = 1 / 8  # as nnU-Net and MONAI


class Window(NamedTuple):
    """The shape of the windows, their distance in voxels, and the weight of a window's voxels."""

    patch_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    importance: Importance = "uniform"
    dimensions: int = 3
    """2: the patch is a slice (its last size is 1) and the network takes (B, C, X, Y)."""

    @classmethod
    def from_plan(cls, plan: Plan, overlap: float | None = None) -> Window:
        """The plan's window; ``overlap`` (0 <= overlap < 1, share of the patch) goes above the plan's strides.

        Raises:
            UsageError: when ``overlap`` is outside its range.
        """
        if overlap is not None and not 0 <= overlap < 1:
            raise UsageError("C2", "--overlap", f"{overlap:g} is outside 0 <= overlap < 1", "use 0.5, for example")
        patch = _three(plan.patch_size)
        if overlap is None and plan.strides is not None:
            strides = _three(plan.strides)
        else:
            share = 1 - (plan.overlap if overlap is None else overlap)
            strides = _three(tuple(max(1, round(size * share)) for size in patch))
        return cls(patch, strides, plan.window, plan.dimensions)


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """First voxels of the windows along one axis: ``min(i * stride, size - patch)``, the last one touches the end.

    Args:
        size: voxels of the (padded) axis, at least ``patch``.
        patch: voxels of a window.
        stride: distance of two windows, at least 1. A distance above ``patch`` would leave voxels out, so it is
            cut to ``patch``.
    """
    step = min(stride, patch)
    count = math.ceil((size - patch) / step) + 1
    return [min(index * step, size - patch) for index in range(count)]


def window_corners(size: tuple[int, ...], window: Window, *, slowest_axis: int = 0) -> list[tuple[int, int, int]]:
    """First voxels of all windows of a volume, ordered along ``slowest_axis`` first."""
    x, y, z = (window_starts(*sizes) for sizes in zip(size, window.patch_size, window.strides, strict=True))
    return sorted(product(x, y, z), key=lambda corner: (corner[slowest_axis], corner))


def axis_importance(patch: int, kind: Importance) -> np.ndarray:
    """Weight of a window's voxels along one axis, float32, maximum 1, never 0.

    The Gaussian has sigma = patch / 8 around the window's center: exp(-8) at its edge.
    """
    if kind == "uniform":
        return np.ones(patch, np.float32)
    offset = np.arange(patch) - (patch - 1) / 2
    weight: np.ndarray = np.exp(-0.5 * (offset / (patch * GAUSSIAN_SIGMA_PER_PATCH)) ** 2)
    return np.asarray(weight / weight.max(), np.float32)


def window_importance(patch_size: tuple[int, ...], kind: Importance) -> np.ndarray:
    """Weight of each voxel of a window, (X, Y, Z) float32: the product of the axes' weights."""
    x, y, z = (axis_importance(size, kind) for size in patch_size)
    return np.asarray(x[:, None, None] * y[:, None] * z)


def axis_weight_sum(size: int, patch: int, stride: int, *, kind: Importance) -> np.ndarray:
    """Sum of the windows' weights at each voxel of one axis, (size,) float32.

    Windows form a grid and their weights are products, so a voxel's total weight is the product of its axes' sums.
    """
    total, weight = np.zeros(size, np.float64), axis_importance(patch, kind)
    for start in window_starts(size, patch, stride):
        total[start : start + patch] += weight
    return total.astype(np.float32)


def padding(size: tuple[int, ...], patch_size: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Zeros to add before and after each axis that is smaller than the patch: half (floor) before, the rest after."""
    missing = (max(patch - extent, 0) for extent, patch in zip(size, patch_size, strict=True))
    return tuple((count // 2, count - count // 2) for count in missing)


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = values
    return x, y, z
