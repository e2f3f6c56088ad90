from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from torch import Tensor, nn

from semivox.imaging.plan import ChannelPlan, Plan


class Seen(list):
    """What was seen by a network and by its copies."""

    def __deepcopy__(self, memo):
        return self


class ThresholdNetwork(nn.Module):
    """Probability of class k rises with the intensity's nearness to k: the label is the rounded intensity."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.calls: list[tuple[int, ...]] = Seen()

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append(tuple(image.shape))
        values = torch.arange(self.classes, device=image.device).reshape(1, -1, *[1] * (image.ndim - 2))
        return torch.softmax(-20 * (image[:, :1].float() - values) ** 2, 1)


class MixingNetwork(nn.Module):
    """A small random convolution: its answer at a voxel depends on where the window lies."""

    def __init__(self, *, channels: int = 1, classes: int = 3, dimensions: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.layer = convolution(channels, classes, 3, padding=1)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, image: Tensor) -> Tensor:
        position = image.mean(dim=tuple(range(2, image.ndim)), keepdim=True)[:, :1]
        return torch.softmax(self.layer(image) + 3 * position, 1)


@pytest.fixture
def threshold_network() -> type[ThresholdNetwork]:
    return ThresholdNetwork


@pytest.fixture
def mixing_network() -> type[MixingNetwork]:
    return MixingNetwork


def make_plan(**changes: Any) -> Plan:
    """A plan that keeps grid and intensities, for label values that are intensities."""
    channel = ChannelPlan(name="image", scheme="none", mean=0, std=1, percentile_00_5=0, percentile_99_5=0)
    values: dict[str, Any] = {
        "recipe": "test", "dimensions": 3, "channels": (channel,), "class_names": ("background", "a", "b"),
        "spacing_mm": None, "spacing_known": True, "patch_size": (16, 16, 16), "strides": (8, 8, 8),
        "window": "gaussian", "labeled_per_batch": 1, "unlabeled_per_batch": 1, "network": "vnet",
    }
    return Plan(**(values | changes))


@pytest.fixture(name="make_plan")
def make_plan_fixture() -> Callable[..., Plan]:
    return make_plan


def write_scan(path: Path, array: np.ndarray, affine_ras: np.ndarray) -> None:
    """Write a scan with the format's own library, not with ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.Nifti1Image(array, affine_ras)
        image.set_qform(affine_ras, code=1)
        image.set_sform(affine_ras, code=2)
        nibabel.save(image, path)
        return
    matrix = np.diag([-1.0, -1, 1, 1]) @ affine_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@pytest.fixture(name="write_scan")
def write_scan_fixture() -> Callable[[Path, np.ndarray, np.ndarray], None]:
    return write_scan
