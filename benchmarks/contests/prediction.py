"""Prediction of a scan: against the loop of public test scripts, and against MONAI's sliding windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from race import Contest, Setup, Side, Work

from contests.scans import image_files, la_scans
from contests.trained import trained_pair

if TYPE_CHECKING:
    from torch import nn

    from semivox.inference.windows import Window

LA_PATCH, LA_STRIDES = (112, 112, 80), (18, 18, 4)
QUICK_PATCH, QUICK_STRIDES = (64, 64, 48), (48, 32, 16)
WIDE_SHAPE, WIDE_PATCH, WIDE_CLASSES = (512, 512, 300), (128, 128, 128), 8
LABEL_TOLERANCE, DICE_TOLERANCE_POINTS = 0.999, 0.02


class Found(NamedTuple):
    """What a side gives."""

    labels: np.ndarray
    dice: float
    """Points against the reference label; NaN where there is none."""


def test_case(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """Image and reference label of the first test case."""
    from semivox.imaging.files import read_image, read_label

    image, label = image_files(la_scans(setup), "Ts")[0]
    return read_image(image).array, read_label(label).array


def dice(labels: np.ndarray, reference: np.ndarray) -> float:
    """Dice of the object in points."""
    both = np.logical_and(labels == 1, reference == 1).sum()
    return float(200 * both / ((labels == 1).sum() + (reference == 1).sum()))


def la_window(setup: Setup, *, half_overlap: bool = False) -> Window:
    """The windows of the literature, or the default: half overlap, Gaussian."""
    from semivox.inference.windows import Window

    patch, strides = (QUICK_PATCH, QUICK_STRIDES) if setup.quick else (LA_PATCH, LA_STRIDES)
    x, y, z = (size // 2 for size in patch)
    return Window(patch, (x, y, z), "gaussian") if half_overlap else Window(patch, strides)


def ours_la(setup: Setup) -> Work:
    """As ``semivox predict`` does it, with the strides of the literature."""
    return _ours(setup, la_window(setup))


def ours_default(setup: Setup) -> Work:
    """As ``semivox predict`` does it."""
    return _ours(setup, la_window(setup, half_overlap=True))


def _ours(setup: Setup, window: Window) -> Work:
    import torch

    from semivox.inference.sliding import Execution, predict_labels
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    network = trained_pair(setup, la_window(setup).patch_size).to(memory_format=torch.channels_last_3d)
    image, reference = test_case(setup)
    execution = Execution(batch_size=2, precision="auto", device=setup.device)

    def work() -> Found:
        labels = predict_labels(network, image[None], window, execution=execution)
        return Found(labels, dice(labels, reference))

    return work


def window_by_window(setup: Setup) -> Work:
    """The test scripts of public codes: each window alone in float32, sums of scores and visits in NumPy arrays."""
    import torch

    from semivox.inference.windows import window_corners

    network, window = trained_pair(setup, la_window(setup).patch_size), la_window(setup)
    image, reference = test_case(setup)

    def work() -> Found:
        scores = np.zeros((2, *image.shape), np.float32)
        visits = np.zeros(image.shape, np.float32)
        for corner in window_corners(image.shape, window):
            region = tuple(slice(c, c + p) for c, p in zip(corner, window.patch_size, strict=True))
            patch = np.expand_dims(np.expand_dims(image[region], 0), 0).astype(np.float32)
            with torch.no_grad():
                answer = network(torch.from_numpy(patch).to(setup.device))[0].cpu().numpy()
            scores[(slice(None), *region)] = scores[(slice(None), *region)] + answer
            visits[region] = visits[region] + 1
        labels = np.argmax(scores / np.expand_dims(visits, 0), axis=0)
        return Found(labels.astype(np.uint8), dice(labels, reference))

    return work


def monai_default(setup: Setup) -> Work:
    """MONAI's sliding windows with its usual four windows a pass; bf16 autocast and channels-last as ours."""
    import torch

    image, reference = test_case(setup)
    network = trained_pair(setup, la_window(setup).patch_size).to(memory_format=torch.channels_last_3d)
    predict = _monai(setup, network, la_window(setup, half_overlap=True).patch_size)

    def work() -> Found:
        labels = predict(image)
        return Found(labels, dice(labels, reference))

    return work


def _monai(setup: Setup, network: nn.Module, patch_size: tuple[int, int, int], precision: str = "auto") -> Any:
    import torch
    from monai.inferers import sliding_window_inference

    from semivox.inference.precision import resolve_precision
    from semivox.inference.windows import window_importance

    weights = torch.from_numpy(window_importance(patch_size, "gaussian")).to(setup.device)  # its own are at least 0.001
    half = resolve_precision(precision, setup.device) == "bf16"

    def predict(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(setup.device, torch.bfloat16, enabled=half):
            probabilities = sliding_window_inference(
                torch.from_numpy(image)[None, None].to(setup.device), patch_size, sw_batch_size=4, predictor=network,
                overlap=0.5, mode="gaussian", roi_weight_map=weights)
            labels: np.ndarray = probabilities.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return labels

    return predict


def wide_network(setup: Setup) -> nn.Module:
    """From a voxel to eight classes: next to nothing to compute, so that the windows' bookkeeping is measured.

    It looks at no neighbors, because MONAI gives the voxels at the faces of a scan other weights than we do
    (its importance is at least 0.001), which shows where windows end.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.Conv3d(1, WIDE_CLASSES, 1)
    nn.init.normal_(layer.weight, std=1)
    nn.init.normal_(layer.bias, std=1)
    return nn.Sequential(layer, nn.Softmax(1)).to(setup.device, memory_format=torch.channels_last_3d).eval()


def wide_image() -> np.ndarray:
    """A generated scan (512, 512, 300) float32: blocks of 8 voxels, so that most voxels are far from a tie."""
    blocks = np.random.default_rng(0).standard_normal([-(-side // 8) for side in WIDE_SHAPE], np.float32)
    rows = blocks.repeat(8, 0).repeat(8, 1)
    x, y, z = WIDE_SHAPE
    return np.ascontiguousarray(rows.repeat(8, 2)[:x, :y, :z])


def ours_wide(setup: Setup) -> Work:
    """As ``semivox predict`` does it; in float32, where no two classes are equally probable."""
    from semivox.inference.sliding import Execution, predict_labels
    from semivox.inference.windows import Window
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    network, image = wide_network(setup), wide_image()
    x, y, z = (size // 2 for size in WIDE_PATCH)
    window, execution = Window(WIDE_PATCH, (x, y, z), "gaussian"), Execution(2, "fp32", device=setup.device)
    return lambda: Found(predict_labels(network, image[None], window, execution=execution), float("nan"))


def monai_wide(setup: Setup) -> Work:
    """MONAI with the same settings as for the left atrium."""
    image, predict = wide_image(), _monai(setup, wide_network(setup), WIDE_PATCH, "fp32")
    return lambda: Found(predict(image), float("nan"))


def same_labels(ours: Found, theirs: Found) -> str:
    """Labels equal in 99.9 % of the voxels. Dice is told and not held to a limit: both sides may round to bf16."""
    share = float((ours.labels == theirs.labels).mean())
    assert share >= LABEL_TOLERANCE, f"labels equal in {share:.3%} of the voxels only"
    said = f"labels equal in {share:.3%} of the voxels (tolerance {LABEL_TOLERANCE:.1%})"
    return said if np.isnan(theirs.dice) else f"{said}, Dice {ours.dice:.3f} and {theirs.dice:.3f}"


def same_labels_and_dice(ours: Found, theirs: Found) -> str:
    """The same, and Dice within 0.02 points of float32."""
    said = same_labels(ours, theirs)
    assert abs(ours.dice - theirs.dice) < DICE_TOLERANCE_POINTS, said
    return f"{said} (tolerance {DICE_TOLERANCE_POINTS})"


CONTESTS = (
    Contest("predict_la", "prediction, one LA case, strides 18/18/4, two V-Nets", Side("Semivox", ours_la),
            Side("window by window, fp32, NumPy sums", window_by_window), same_labels_and_dice,
            target=6, repeats=1),
    Contest("predict_monai", "prediction, one LA case, half overlap, two V-Nets", Side("Semivox", ours_default),
            Side("MONAI sliding_window_inference, bf16", monai_default), same_labels, target=1, repeats=5),
    Contest("predict_memory", "prediction, 512 x 512 x 300, 8 classes, pointwise network", Side("Semivox", ours_wide),
            Side("MONAI sliding_window_inference", monai_wide), same_labels, target=1, memory_target=0.5,
            repeats=1, quick=False),
)
