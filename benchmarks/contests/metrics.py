"""Scores of predictions, and the largest component of a mask, against the packages that public code uses for them.

Predictions are reference labels of the left atria (or of generated scans), damaged in a fixed way: moved, eroded in one
half, dilated in a quarter, with islands. All sides get the same arrays in memory; nobody reads a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from race import Contest, Setup, Side, Work
from scipy import ndimage

from contests.scans import image_files, la_scans

CASES, QUICK_CASES = 100, 12
SPACING_MM = (0.625, 0.625, 0.625)
MASKS, MASK_SHAPE, QUICK_MASK_SHAPE = 8, (112, 112, 80), (80, 80, 64)
Pair = tuple[np.ndarray, np.ndarray]
Columns = Sequence[Sequence[float]]


def damaged(label: np.ndarray, seed: int) -> np.ndarray:
    """A prediction as a network in training makes it: mean Dice about 0.85, HD95 of some voxels."""
    rng = np.random.default_rng(seed)
    shifts = tuple(int(step) for step in rng.integers(-2, 3, 3))
    found = ndimage.shift(label, shifts, order=0).astype(bool)
    lower, front = found[..., : label.shape[2] // 2], found[: label.shape[0] // 2, : label.shape[1] // 2]
    lower[...] = ndimage.binary_erosion(lower, iterations=2, border_value=1)
    front[...] = ndimage.binary_dilation(front, iterations=2)
    for _ in range(3):
        corner = [int(rng.integers(0, side - 8)) for side in label.shape]
        found[tuple(slice(start, start + 7) for start in corner)] = True
    return found.astype(np.uint8)


def pairs(setup: Setup, count: int) -> list[Pair]:
    """Predictions and references, uint8; references take turns when there are fewer scans."""
    import nibabel

    scans = la_scans(setup)
    files = [label for part in ("Ts", "Tr") for _, label in image_files(scans, part)]
    read = cache(lambda path: np.ascontiguousarray(nibabel.load(path).dataobj, np.uint8))
    labels = [read(files[number % len(files)]) for number in range(count)]
    return [(damaged(label, seed), label) for seed, label in enumerate(labels)]


def ours_of_case(setup: Setup) -> Work:
    """What ``semivox evaluate`` computes for a case: nine measures, in voxels and mm. The five that MedPy does too."""
    from semivox.metrics.conventions import class_metrics

    (prediction, reference), = pairs(setup, 1)

    def work() -> list[float]:
        found = class_metrics(prediction, reference, [1], spacing_mm=SPACING_MM)[1]
        assert found.dice is not None
        return [float(getattr(found, name)) for name in ("dice", "jaccard", "hd95_voxel", "asd_voxel", "assd_voxel")]

    return work


def medpy_of_case(setup: Setup) -> Work:
    """``medpy.metric.binary`` on the whole maps, one call a measure, as the published test scripts have it."""
    from medpy.metric import binary

    (prediction, reference), = pairs(setup, 1)
    measures = (binary.dc, binary.jc, binary.hd95, binary.asd, binary.assd)
    return lambda: [float(measure(prediction, reference)) for measure in measures]


def equal_scores(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The five numbers within 1e-6."""
    worst = float(np.abs(np.subtract(ours, theirs)).max())
    assert worst <= 1e-6, f"scores differ by {worst:.2g}: {ours} and {theirs}"
    return f"5 scores differ by {worst:.0e} (tolerance 1e-6)"


def ours_of_cases(setup: Setup) -> Work:
    """What ``semivox evaluate`` computes for each case: nine measures."""
    from semivox.metrics.conventions import class_metrics

    cases = pairs(setup, QUICK_CASES if setup.quick else CASES)
    greater = [_greater_percentile(case) for case in cases]  # for the comparison alone: not timed

    def work() -> Columns:
        scores = [class_metrics(*case, [1], spacing_mm=SPACING_MM)[1] for case in cases]
        return [score.dice for score in scores], [score.hd95_voxel for score in scores], greater

    return work


def _greater_percentile(case: Pair) -> float:
    """HD95 by MONAI's definition from our distances: the greater one of the two directions' 95th percentiles."""
    from semivox.metrics.surface import surface_distances

    return max(float(np.percentile(each, 95)) for each in surface_distances(case[0] == 1, case[1] == 1))


def monai_of_cases(setup: Setup) -> Work:
    """``DiceMetric`` and ``HausdorffDistanceMetric(percentile=95)`` on one-hot tensors, the background left out.

    The two that MONAI users report; the tensors are made beforehand, as a validation loop has them. On a CPU, MONAI 1.6
    crops, and searches a k-d tree of surface elements.
    """
    import torch
    from monai.metrics import DiceMetric, HausdorffDistanceMetric

    def one_hot(label: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([label == 0, label == 1])[None].astype(np.uint8))

    cases = [tuple(map(one_hot, case)) for case in pairs(setup, QUICK_CASES if setup.quick else CASES)]

    def work() -> Columns:
        dice = DiceMetric(include_background=False)
        hd95 = HausdorffDistanceMetric(include_background=False, percentile=95)
        for prediction, reference in cases:
            dice(prediction, reference)
            hd95(prediction, reference)
        return [metric.aggregate("none").flatten().tolist() for metric in (dice, hd95)]

    return work


def explained_scores(ours: Columns, theirs: Columns) -> str:
    """Dice within 1e-6; MONAI's HD95 within float32 rounding of the same definition applied to our distances.

    MONAI takes the greater of the two directions' percentiles, we and MedPy the percentile of both pooled, which is
    never greater.
    """
    (dice, pooled, greater), (their_dice, hd95) = map(np.asarray, ours), map(np.asarray, theirs)
    dice_apart, hd95_apart = float(np.abs(dice - their_dice).max()), float(np.abs(greater - hd95).max())
    assert dice_apart <= 1e-6, f"Dice differs by {dice_apart:.2g}"
    assert hd95_apart <= 1e-4, f"HD95 by MONAI's definition differs by {hd95_apart:.2g} voxels"
    assert np.all(pooled <= greater + 1e-4), "a pooled percentile exceeds both directed ones"
    return (f"Dice differs by {dice_apart:.0e} (tolerance 1e-6), HD95 by MONAI's definition by {hd95_apart:.0e} voxels "
            f"(tolerance 1e-4); ours, pooled, is {float(np.mean(greater - pooled)):.2f} voxels less on average")


def masks(setup: Setup) -> np.ndarray:
    """(8, X, Y, Z) int64, patches of damaged labels with ten islands each: pseudo-labels of two networks."""
    shape = QUICK_MASK_SHAPE if setup.quick else MASK_SHAPE
    batch = np.zeros((MASKS, *shape), np.int64)
    for sample, (prediction, _) in zip(batch, pairs(setup, MASKS), strict=True):
        inside = tuple(slice(max(0, (side - wanted) // 2), max(0, (side - wanted) // 2) + wanted)
                       for side, wanted in zip(prediction.shape, shape, strict=True))
        patch = prediction[inside]
        sample[tuple(map(slice, patch.shape))] = patch
        rng = np.random.default_rng(sample.sum())
        for _ in range(10):
            corner = [int(rng.integers(0, side - 6)) for side in shape]
            sample[tuple(slice(start, start + 5) for start in corner)] = 1
    return batch


def ours_of_masks(setup: Setup) -> Work:
    """The filter of the methods, with the memory setting that the engine trains with."""
    import torch

    from semivox.components.largest_component import largest_component
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    batch = torch.from_numpy(masks(setup)).to(setup.device)
    return lambda: largest_component(batch)


def skimage_of_masks(setup: Setup) -> Work:
    """``skimage.measure.label`` and ``argmax`` of ``bincount`` for each sample, as the papers' released code."""
    import torch
    from skimage.measure import label

    batch = torch.from_numpy(masks(setup)).to(setup.device)

    def work() -> torch.Tensor:
        kept = []
        for sample in batch:
            mask = sample.detach().cpu().numpy()
            components = label(mask)
            largest = components == np.argmax(np.bincount(components.flat)[1:]) + 1 if components.max() else mask
            kept.append(largest)
        return torch.Tensor(np.array(kept)).to(setup.device)

    return work


def equal_masks(ours: object, theirs: object) -> str:
    """Every voxel."""
    one, other = np.asarray(ours), np.asarray(theirs)
    different = int(np.count_nonzero(one != other))
    assert not different, f"{different} voxels differ"
    return f"all {one.size:,} voxels equal ({int(one.sum()):,} kept)"


CONTESTS = (
    Contest("metrics_medpy", "Dice, Jaccard, HD95, ASD, ASSD of one case", Side("Semivox (9 measures)", ours_of_case),
            Side("MedPy", medpy_of_case), equal_scores, target=8, repeats=9, devices=("cpu",)),
    Contest("metrics_monai", "Dice, HD95 of 100 cases (12 when quick)", Side("Semivox (9 measures)", ours_of_cases),
            Side("MONAI (2 measures)", monai_of_cases), explained_scores, target=2, repeats=3, devices=("cpu",)),
    Contest("largest_component", "largest component, 8 masks", Side("Semivox", ours_of_masks),
            Side("scikit-image", skimage_of_masks), equal_masks, target=5, repeats=9),
)
