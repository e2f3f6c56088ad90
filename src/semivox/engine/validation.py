"""Scores of the validation cases while a run trains. Nothing is chosen by them; the test cases are not touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from semivox.data.store import LabelAccess, Store
from semivox.imaging.normalize import network_input
from semivox.imaging.plan import Intensity
from semivox.inference.sliding import Execution, predict_labels
from semivox.inference.windows import Window
from semivox.metrics.overlap import count_overlap


class Validator:
    """Predicts the validation cases on the prepared grid and compares them with their labels.

    Only this object may read the labels of validation cases.
    """

    def __init__(self, store: Store, cases: tuple[str, ...], window: Window, execution: Execution,
                 intensity: Intensity = "stored") -> None:
        self.store, self.cases = store, cases
        self.window, self.execution, self.intensity = window, execution, intensity
        self.labels = LabelAccess(store, cases)

    def score(self, predictor: nn.Module, observed: Mapping[str, nn.Module] | None = None) -> dict[str, Any]:
        """Mean Dice in percent over cases and foreground classes, per case too; a class absent from both is skipped.

        Args:
            predictor: what is deployed.
            observed: name to another module from images to probabilities; its mean is ``<name>_dice``.
        """
        per_case = self._per_case(predictor)
        others = {f"{name}_dice": _mean(self._per_case(module)) for name, module in (observed or {}).items()}
        return {"dice": _mean(per_case), **others, "dice_per_case": per_case}

    def _per_case(self, predictor: nn.Module) -> dict[str, float | None]:
        return {name: self._dice(predictor, name) for name in self.cases}

    def _dice(self, predictor: nn.Module, name: str) -> float | None:
        image = network_input(self.store.image(name), self.intensity)
        predicted = predict_labels(predictor, image, self.window, execution=self.execution)
        reference = np.asarray(self.labels.label(name))
        counts = [count_overlap(predicted == index, reference == index)
                  for index in range(1, self.store.plan.classes)]
        defined = [100 * count.dice for count in counts if count.prediction_voxels + count.reference_voxels]
        return float(np.mean(defined)) if defined else None


def _mean(per_case: dict[str, float | None]) -> float | None:
    scores = [value for value in per_case.values() if value is not None]
    return float(np.mean(scores)) if scores else None
