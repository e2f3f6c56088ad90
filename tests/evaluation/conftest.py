"""Small label maps with known scores, as files on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semivox.imaging.files import write_image, write_label
from semivox.imaging.geometry import Geometry

SHAPE, SPACING = (12, 14, 10), (1.0, 2.0, 2.5)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GEOMETRY = Geometry(SPACING, (5.0, -7.0, 11.0), IDENTITY)


class Folders:
    """Predictions, references and results below one folder, and what to fill them with."""

    shape, geometry = SHAPE, GEOMETRY
    nothing = np.zeros(SHAPE, np.uint8)

    def __init__(self, root: Path) -> None:
        self.predictions, self.references, self.out = root / "predictions", root / "labelsTs", root / "out"
        self.images = root / "imagesTs"
        for folder in (self.predictions, self.references, self.images):
            folder.mkdir(parents=True)

    def add(
        self, case: str, prediction: np.ndarray | None, reference: np.ndarray, *,
        endings: tuple[str, str] = (".nii.gz", ".nii.gz"),
    ) -> None:
        if prediction is not None:
            write_label(self.predictions / f"{case}{endings[0]}", prediction, GEOMETRY)
        write_label(self.references / f"{case}{endings[1]}", reference, GEOMETRY)

    def add_image(self, name: str, geometry: Geometry = GEOMETRY) -> None:
        image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
        write_image(self.images / f"{name}.nii.gz", image, geometry)

    @staticmethod
    def cube(start: int, stop: int, label: int = 1) -> np.ndarray:
        """A label map with one block of 16 voxels a slice along the first axis."""
        labels = np.zeros(SHAPE, np.uint8)
        labels[start:stop, 4:8, 3:7] = label
        return labels

    @staticmethod
    def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.maximum(first, second)

    def declare(self, labels: object) -> None:
        (self.references / "dataset.json").write_text(json.dumps({"labels": labels}))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture
def scored(folders: Folders) -> Callable[[], Folders]:
    """Four cases of two classes: good, shifted, one class missed, one class spurious and the other in neither."""

    def build() -> Folders:
        folders.declare({"background": 0, "liver": 1, "left = right": 2})
        whole = folders.both(folders.cube(1, 5), folders.cube(7, 11, 2))
        folders.add("good", whole, whole)
        moved = folders.both(folders.cube(2, 6), folders.cube(7, 11, 2))
        folders.add("shifted", moved, whole, endings=(".nrrd", ".nii.gz"))
        folders.add("missed", folders.cube(1, 5), whole, endings=(".mha", ".nii"))
        folders.add("spurious", folders.cube(3, 4), folders.nothing)
        return folders

    return build
