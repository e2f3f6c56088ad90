"""Voxel counts of two masks, and the overlap measures that follow from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Overlap(NamedTuple):
    """Voxels of one class in one case: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def prediction_voxels(self) -> int:
        """Voxels of the predicted structure, TP + FP."""
        return self.tp + self.fp

    @property
    def reference_voxels(self) -> int:
        """Voxels of the reference structure, TP + FN."""
        return self.tp + self.fn

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)``, 0..1; not defined (ZeroDivisionError) when both masks are empty."""
        return 2.0 * self.tp / (2 * self.tp + self.fp + self.fn)

    @property
    def jaccard(self) -> float:
        """``TP / (TP + FP + FN)``, 0..1; not defined (ZeroDivisionError) when both masks are empty."""
        return self.tp / (self.tp + self.fp + self.fn)


def count_overlap(prediction: np.ndarray, reference: np.ndarray, *, image_voxels: int | None = None) -> Overlap:
    """Count the voxels of two boolean masks of one shape.

    Args:
        prediction: boolean mask, any number of axes.
        reference: boolean mask of the same shape.
        image_voxels: voxels of the whole image when the masks are a part of it that holds both structures.
    """
    both = int(np.count_nonzero(prediction & reference))
    predicted, present = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    total = prediction.size if image_voxels is None else image_voxels
    return Overlap(tp=both, fp=predicted - both, fn=present - both, tn=total - predicted - present + both)
