"""Generated scans on disk: a data set in nnU-Net's layout, hard enough that a few labels do not suffice.

Between scans the body, the contrast, the bias field and the noise differ; vessels and chambers next to the organ have
its intensity. The same seed writes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from semivox.demo.anatomy import STRUCTURES, Anatomy, draw_anatomy, make_grid, smooth_field
from semivox.errors import UsageError
from semivox.fsio import write_json
from semivox.imaging.files import write_image, write_label
from semivox.imaging.geometry import Geometry, Triple
from semivox.seeding import numpy_generator

DATASET = "Generated chest"
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
AIR, LUNG = 0.02, 0.1
BIAS_KNOTS = 3


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """What the generated scans look like."""

    shape: tuple[int, int, int] = (64, 64, 48)
    """Voxels along Left, Posterior, Superior."""
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.0)
    classes: int = 2
    """K, background included: 2..6, the structures of ``anatomy.STRUCTURES`` in order."""
    channels: int = 1
    """Images of the same body with other contrasts."""
    seed: int = 0
    difficulty: float = 1.0
    """Strength of noise, bias field and differences between bodies; 0 gives noiseless scans of nearly the same body."""
    spacing_jitter: float = 0.0
    """Relative range by which spacing differs between scans (in-plane, and across); the field of view is kept."""
    direction: tuple[float, ...] = UPRIGHT
    """Direction cosines of the voxel axes (LPS, row-major 3 x 3), for example of an oblique scan."""

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= len(STRUCTURES) + 1:
            problem = f"{self.classes} classes asked for, expected 2 to {len(STRUCTURES) + 1}"
            raise UsageError("C2", "classes", problem, "give the number of classes with the background")


@dataclass(frozen=True)
class GeneratedScan:
    """One scan: ``image`` (C, X, Y, Z) float32 with whole numbers, ``label`` (X, Y, Z) uint8."""

    image: np.ndarray
    label: np.ndarray
    geometry: Geometry


def write_dataset(  # noqa: PLR0913 - keyword-only, one for each thing on disk
    folder: Path,
    *,
    train: int,
    labeled: int,
    test: int,
    unlabeled: int = 0,
    ending: str = ".nii.gz",
    dataset_json: bool = True,
    splits_json: bool = False,
    **appearance: Any,
) -> Path:
    """Write a data set: ``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs`` and, if asked for, ``imagesUn``.

    Args:
        folder: where to; created if need be.
        train: number of scans in ``imagesTr``.
        labeled: how many of them, the first ones, have a label in ``labelsTr``.
        test: number of test scans, all with a reference.
        unlabeled: number of scans in ``imagesUn``.
        ending: file format, for example ``.nii.gz``, ``.nrrd`` or ``.mha``.
        dataset_json: whether to describe channels and classes in ``dataset.json``.
        splits_json: whether to list the train and test cases in ``splits.json``.
        **appearance: fields of ``ScanSettings``.

    Returns:
        The folder.

    Raises:
        UsageError: more classes or labels than there are.
    """
    settings = ScanSettings(**appearance)
    if not 0 <= labeled <= train:
        raise UsageError("C2", "labeled", f"{labeled} labels asked for, expected 0 to {train}", "lower it")
    folder = Path(folder)
    names = [f"chest_{number:03d}" for number in range(1, train + unlabeled + test + 1)]
    for number, name in enumerate(names):
        role = "Tr" if number < train else "Un" if number < train + unlabeled else "Ts"
        scan = generate_scan(number, settings)
        _write_channels(folder / f"images{role}", name, ending, scan)
        if number < labeled or role == "Ts":
            (folder / f"labels{role}").mkdir(parents=True, exist_ok=True)
            write_label(folder / f"labels{role}" / f"{name}{ending}", scan.label, scan.geometry)
    if dataset_json:
        write_json(folder / "dataset.json", _describe(settings, labeled, ending))
    if splits_json:
        write_json(folder / "splits.json", {"train": names[:train], "test": names[train + unlabeled :]})
    return folder


def generate_scan(number: int, settings: ScanSettings) -> GeneratedScan:
    """Generate scan ``number`` of a data set; it depends on nothing but its arguments."""
    rng = numpy_generator(settings.seed, "scan", number)
    shape, spacing_mm = _draw_grid(settings, rng)
    anatomy = draw_anatomy(make_grid(shape, spacing_mm), rng, settings.difficulty)
    channels = [_acquire(anatomy, spacing_mm, rng, settings.difficulty) for _ in range(settings.channels)]
    label = np.zeros(shape, np.uint8)
    for value, distance in enumerate(anatomy.structures[: settings.classes - 1], start=1):
        label[distance < 0] = value
    x_mm, y_mm, z_mm = (float(round(value, 2)) for value in rng.uniform(-80, 80, 3))
    geometry = Geometry(spacing_mm=spacing_mm, origin_mm=(x_mm, y_mm, z_mm), direction=settings.direction)
    return GeneratedScan(np.stack(channels), label, geometry)


def _draw_grid(settings: ScanSettings, rng: np.random.Generator) -> tuple[tuple[int, ...], Triple]:
    in_plane, across = 1 + settings.spacing_jitter * rng.uniform(-1, 1, 2)
    factors = (in_plane, in_plane, across)
    shape = tuple(max(1, round(side / factor)) for side, factor in zip(settings.shape, factors, strict=True))
    extents = (side * step for side, step in zip(settings.shape, settings.spacing_mm, strict=True))
    x_mm, y_mm, z_mm = (round(extent / side, 4) for extent, side in zip(extents, shape, strict=True))
    return shape, (x_mm, y_mm, z_mm)


def _acquire(
    anatomy: Anatomy, spacing_mm: tuple[float, ...], rng: np.random.Generator, difficulty: float
) -> np.ndarray:
    """Turn shapes into an image in arbitrary units: tissue, texture, bias field, blur and Rician noise."""
    shape = anatomy.body.shape
    clean = _paint(anatomy, spacing_mm, rng, difficulty)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1.2) * np.float32(6)
    clean = clean * (1 + np.float32(0.05 * difficulty) * texture)
    bias = smooth_field(shape, BIAS_KNOTS, rng)
    clean = clean * np.exp(np.float32(rng.uniform(0.1, 0.3) * difficulty) * bias)
    blurred = ndimage.gaussian_filter(clean, rng.uniform(0.45, 0.8))
    noise = rng.standard_normal((2, *shape), dtype=np.float32) * np.float32(rng.uniform(0.03, 0.08) * difficulty)
    measured = np.hypot(blurred + noise[0], noise[1])
    return np.asarray(np.round(measured * np.float32(rng.uniform(250, 900))), np.float32)


def _paint(
    anatomy: Anatomy, spacing_mm: tuple[float, ...], rng: np.random.Generator, difficulty: float
) -> np.ndarray:
    """Mean intensity of each voxel, from back to front; a voxel on an edge gets a mixture."""
    softness = float(np.mean(spacing_mm)) / 2

    def vary(middle: float, by: float) -> float:
        return middle + difficulty * by * rng.uniform(-1, 1)

    blood = vary(0.75, 0.2)
    muscle = max(blood - vary(0.28, 0.12), 0.15)
    fat, bone = vary(0.75, 0.35), vary(0.45, 0.2)
    layers = [
        (anatomy.body, fat), (anatomy.body + vary(5, 2), muscle), (anatomy.lungs, LUNG), (anatomy.spine, bone),
        (_heart_sac(anatomy), muscle), (anatomy.nodes, vary(blood, 0.15)), (anatomy.lung_vessels, blood),
        *((structure, vary(blood, 0.03)) for structure in reversed(anatomy.structures)),
    ]  # fmt: skip
    image = np.full(anatomy.body.shape, AIR, np.float32)
    for distance, intensity in layers:
        share = np.clip(0.5 - distance / (2 * softness), 0, 1)
        image += share * (np.float32(intensity) - image)
    return image


def _heart_sac(anatomy: Anatomy) -> np.ndarray:
    """Muscle around the chambers: 5 mm around the ventricle, 1 to 2 mm around the others."""
    atrium, ventricle, _, right, outflow = anatomy.structures
    return np.asarray(np.minimum.reduce([ventricle - 5, right - 2, outflow - 2, atrium - 1.2]))


def _write_channels(folder: Path, name: str, ending: str, scan: GeneratedScan) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for channel, image in enumerate(scan.image):
        write_image(folder / f"{name}_{channel:04d}{ending}", image, scan.geometry)


def _describe(settings: ScanSettings, labeled: int, ending: str) -> dict[str, object]:
    names = STRUCTURES[: settings.classes - 1]
    return {
        "name": DATASET,
        "channel_names": {str(channel): f"MRI {channel + 1}" for channel in range(settings.channels)},
        "labels": {"background": 0, **{name: value for value, name in enumerate(names, start=1)}},
        "numTraining": labeled,
        "file_ending": ending,
    }
