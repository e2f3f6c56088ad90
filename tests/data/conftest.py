"""A small dataset folder on disk that tests can break in one place."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for findings

SHAPE = (16, 16, 16)
LABELED, UNLABELED, TEST = ("a", "b", "c"), ("u", "v"), ("t", "w")


class DatasetFolder:
    """nnU-Net layout: cases a, b, c with masks, u and v without, t and w for testing; two classes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (*LABELED, *UNLABELED):
            self.image(f"imagesTr/{name}_0000.nii.gz")
        for name in TEST:
            self.image(f"imagesTs/{name}_0000.nii.gz")
        for path in (*(f"labelsTr/{name}.nii.gz" for name in LABELED), *(f"labelsTs/{name}.nii.gz" for name in TEST)):
            self.label(path)
        self.declare()

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def voxels(self, seed: object, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
        """Noise with a brighter block; ``seed`` is any name."""
        rng = np.random.default_rng(list(repr(seed).encode()))
        values = rng.normal(100, 20, shape).astype(np.float32)
        values[4:10, 5:11, 4:9] += 60
        return values

    def mask(self, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
        labels = np.zeros(shape, np.uint8)
        labels[4:10, 5:11, 4:9] = 1
        return labels

    def image(self, name: str, values: np.ndarray | None = None, *, affine: np.ndarray | None = None) -> Path:
        return self.write(name, self.voxels(name) if values is None else values, affine=affine)

    def label(self, name: str, values: np.ndarray | None = None, *, affine: np.ndarray | None = None) -> Path:
        return self.write(name, self.mask() if values is None else values, affine=affine)

    def write(self, name: str, values: np.ndarray, *, affine: np.ndarray | None = None) -> Path:
        path = self.path(name)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)
        return path

    def json(self, name: str, content: Any) -> None:
        self.path(name).write_text(json.dumps(content), encoding="utf-8")

    def declare(self, **changes: Any) -> None:
        """Write ``dataset.json``; a value of None removes the key."""
        content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1},
                   "numTraining": len(LABELED), "file_ending": ".nii.gz", **changes}
        self.json("dataset.json", {key: value for key, value in content.items() if value is not None})

    def remove(self, *names: str) -> None:
        for name in names:
            (self.root / name).unlink()


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """A dataset without any problem; each test has its own."""
    return DatasetFolder(tmp_path / "data")
