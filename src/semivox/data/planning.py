"""From a fingerprint to a plan. A recipe is a function of the fingerprint; the plan is then the user's to edit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from semivox.data.fingerprint import ChannelStatistics, Fingerprint, is_ct
from semivox.errors import UsageError, did_you_mean
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.networks import required_multiple

MAX_VOXELS, MIN_VOXELS = 2**20, 2**17
"""Largest and smallest 3D patch of ``auto``: 128^2 x 64 (about the literature's 112 x 112 x 80) and 64^2 x 32."""
CPU_VOXELS = 2**18
"""Limit without a GPU, where the time of a step counts before its memory does."""
MAX_PIXELS = 2**18
"""Largest 2D patch: 512 x 512."""
TRAINING_BYTES_PER_VOXEL = 2500
"""Activations, gradients and a teacher's forward pass of a V-Net of width 16 in float32, per voxel of the batch."""
THICK_RATIO = 3.0
"""From this ratio of slice thickness to in-plane spacing on, a scan counts as anisotropic (nnU-Net's threshold)."""
FEW_SLICES = 16
"""Below this number of thick slices a 3D network has nothing to pool over: slices are segmented one by one."""
FOREGROUND_FRACTION = 0.33
"""Share of labeled patches that ``auto`` centers on foreground (nnU-Net's share)."""


class Recipe(NamedTuple):
    """A way to plan."""

    summary: str
    build: Callable[[Fingerprint, int], dict[str, Any]]
    """(fingerprint, voxels of a patch that memory can hold) -> fields of ``Plan`` beyond names and channels."""
    scheme: Callable[[str], str]
    """Channel name -> normalization scheme."""


def make_plan(fingerprint: Fingerprint, recipe: str, *, class_names: Sequence[str],
              memory_gb: float | None = None) -> Plan:
    """Plan resampling, normalization, patch, batch and network of a dataset.

    Args:
        fingerprint: of the training images.
        recipe: a key of ``RECIPES``.
        class_names: index 0 is the background.
        memory_gb: memory for training; None looks at this machine (a GPU's if there is one, else half of the main
            memory, and then patches stay small because of the time of a step).

    Raises:
        UsageError: unknown recipe.
    """
    if recipe not in RECIPES:
        raise UsageError("C2", "--recipe", f"unknown recipe '{recipe}'", did_you_mean(recipe, RECIPES))
    chosen = RECIPES[recipe]
    limit = machine_voxels() if memory_gb is None else voxels_for_memory(memory_gb)
    channels = tuple(_channel(channel, chosen.scheme(channel.name)) for channel in fingerprint.channels)
    return Plan(recipe=recipe, channels=channels, class_names=tuple(class_names),
                spacing_known=fingerprint.spacing_known, **chosen.build(fingerprint, limit))


def scheme_by_modality(channel_name: str) -> str:
    """``"CT"`` (any word of the name) gives ``"ct"``, everything else ``"zscore"``."""
    return "ct" if is_ct(channel_name) else "zscore"


def target_spacing(fingerprint: Fingerprint) -> tuple[float, float, float] | None:
    """Median spacing per axis; of a thick, sparse axis the 10th percentile, so that thin-sliced scans keep detail.

    None when some file does not state its spacing: those scans cannot be brought to a common one.
    """
    if not fingerprint.spacing_known:
        return None
    spacings = np.array([case.spacing_mm for case in fingerprint.cases])
    shapes = np.array([case.shape for case in fingerprint.cases])
    target, shape = np.median(spacings, axis=0), np.median(shapes, axis=0)
    thick = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != thick]
    in_plane = float(target[others].max())
    if target[thick] > THICK_RATIO * in_plane and shape[thick] * THICK_RATIO < shape[others].min():
        target[thick] = max(float(np.percentile(spacings[:, thick], 10)), in_plane)
    return tuple(_readable(float(value)) for value in target)  # type: ignore[return-value]


def median_shape(fingerprint: Fingerprint, spacing_mm: Sequence[float] | None) -> tuple[int, int, int]:
    """Median size of the training images in voxels after resampling to ``spacing_mm`` (None: as they are)."""
    shapes = np.array([case.shape for case in fingerprint.cases], dtype=np.float64)
    if spacing_mm is not None:
        shapes *= np.array([case.spacing_mm for case in fingerprint.cases]) / np.asarray(spacing_mm)
    x, y, z = (max(1, round(float(value))) for value in np.median(shapes, axis=0))
    return x, y, z


def fit_patch(shape: Sequence[int], voxels: int, *, multiple: int) -> tuple[int, ...]:
    """The largest patch of at most ``voxels`` with the proportions of ``shape`` and sides that are such multiples."""
    patch = [-(-size // multiple) * multiple for size in shape]
    while np.prod(patch) > voxels:
        shrinkable = [axis for axis, side in enumerate(patch) if side > multiple]
        if not shrinkable:
            break
        patch[max(shrinkable, key=lambda axis: (patch[axis] / shape[axis], patch[axis]))] -= multiple
    return tuple(patch)


def voxels_for_memory(memory_gb: float, *, samples: int = 4) -> int:
    """Patch voxels that a training batch of ``samples`` patches can have, within the limits of ``auto``."""
    voxels = int(memory_gb * 1e9 / (samples * TRAINING_BYTES_PER_VOXEL))
    return max(MIN_VOXELS, min(MAX_VOXELS, voxels))


def machine_voxels() -> int:
    """``voxels_for_memory`` of this machine."""
    gpu_gb = _gpu_memory_gb()
    if gpu_gb is not None:
        return voxels_for_memory(gpu_gb)
    main_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return min(CPU_VOXELS, voxels_for_memory(main_gb / 2))


def _gpu_memory_gb() -> float | None:
    """Memory of the smallest NVIDIA GPU, without importing torch; None when there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        answer = subprocess.run([program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"], check=True,
                                capture_output=True, text=True, timeout=10).stdout
        sizes_mb = [float(line) for line in answer.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return min(sizes_mb) * 2**20 / 1e9 if sizes_mb else None


def _literature(patch: tuple[int, int, int],
                strides: tuple[int, int, int]) -> Callable[[Fingerprint, int], dict[str, Any]]:
    fields = {"dimensions": 3, "spacing_mm": None, "patch_size": patch, "strides": strides, "window": "uniform",
              "labeled_per_batch": 2, "unlabeled_per_batch": 2, "network": "vnet"}
    return lambda fingerprint, voxels: dict(fields)


def _auto(fingerprint: Fingerprint, voxels: int) -> dict[str, Any]:
    spacing_mm = target_spacing(fingerprint)
    shape = median_shape(fingerprint, spacing_mm)
    common = {"spacing_mm": spacing_mm, "strides": None, "overlap": 0.5, "window": "gaussian",
              "foreground_fraction": FOREGROUND_FRACTION}
    if _slice_by_slice(fingerprint, spacing_mm, shape):
        patch = fit_patch(shape[:2], MAX_PIXELS, multiple=required_multiple("unet2d"))
        return {**common, "dimensions": 2, "patch_size": (*patch, 1), "network": "unet2d",
                "labeled_per_batch": 12, "unlabeled_per_batch": 12}
    patch = fit_patch(shape, voxels, multiple=required_multiple("vnet"))
    return {**common, "dimensions": 3, "patch_size": patch, "network": "vnet",
            "labeled_per_batch": 2, "unlabeled_per_batch": 2}


def _slice_by_slice(fingerprint: Fingerprint, spacing_mm: Sequence[float] | None, shape: Sequence[int]) -> bool:
    """Few thick slices along the last axis (the only one along which slices are taken)."""
    spacing = spacing_mm or np.median([case.spacing_mm for case in fingerprint.cases], axis=0)
    return shape[2] < FEW_SLICES and spacing[2] >= THICK_RATIO * max(spacing[:2])


def _channel(statistics: ChannelStatistics, scheme: str) -> ChannelPlan:
    return ChannelPlan(name=statistics.name, scheme=scheme,  # type: ignore[arg-type]
                       mean=statistics.mean, std=statistics.std, percentile_00_5=statistics.percentile_00_5,
                       percentile_99_5=statistics.percentile_99_5)


def _readable(spacing_mm: float) -> float:
    """Six digits: file headers hold float32, and 0.699999988 is not meant."""
    return float(f"{spacing_mm:.6g}")


def _unchanged(channel_name: str) -> str:
    return "none"


RECIPES: dict[str, Recipe] = {
    "auto": Recipe("spacing, patch and normalization chosen from the scans", _auto, scheme_by_modality),
    "la": Recipe("literature: no resampling, no normalization, patch 112 x 112 x 80, strides 18, 18, 4",
                 _literature((112, 112, 80), (18, 18, 4)), _unchanged),
    "la_half": Recipe("the same at half resolution: patch 64 x 64 x 32, strides 16, 16, 8",
                      _literature((64, 64, 32), (16, 16, 8)), _unchanged),
}
