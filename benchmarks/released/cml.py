"""One self-training step of CML on the left atrium as its released code takes it.

Costs and the sentences that they come from:

- pseudo-labels of all unlabeled crops pass the component filter of scikit-image on the host, one sample and one class
  at a time: "largest component per sample and class" (``cml.md``, step 2); "skimage ``label`` default connectivity",
  "on the host CPU in every released code and costs more than the network step for 3D" (``common.md`` 6);
- splicing is arithmetic with a mask of numbers: "``mix(a,b,M)=a*M+b*(1-M)``" (``common.md`` 5), a target for each
  network (step 4);
- supervised and pseudo-labeled terms make one-hot labels: "softmax, all classes incl. background, per sample";
- each network sees "2 + 4(no grad) + 2 samples" in three passes.

The notes number the labeled pass before the pseudo-labels. Here these come first: it costs the same, and both sides of
the comparison then drop the same channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from skimage.measure import label as connected_components
from torch import Tensor
from torch.nn import functional

from released.update import optimizer_of, update
from semivox.methods.cml import CML
from semivox.networks.output import Output
from semivox.types import Batch

UNLABELED_WEIGHT, DIS_WEIGHT, BOX_FRACTION = 1.0, 0.2, 2 / 3


class Found(NamedTuple):
    """What is compared with ours."""

    terms: Tensor
    """(3,) supervised, conflict, pseudo-labeled."""
    raw: np.ndarray
    """(2, U, *space) int8, both networks' labels before the filter."""
    filtered: np.ndarray
    """The same after it."""


class ReleasedCML:
    """The step, with the networks and the initial weights of ``method``."""

    def __init__(self, method: CML) -> None:
        self.networks = (method.first, method.second)
        self.device = next(method.parameters()).device
        self.optimizer = optimizer_of(self.networks)

    def __call__(self, batch: Batch) -> Found:
        """Take a step."""
        unlabeled = batch.unlabeled_image
        mask, mask_u = self._mask(batch.image), self._mask(batch.image)  # M, M'
        with torch.no_grad():
            raw = [(network(unlabeled).logits.softmax(1)[:, 1] >= 0.5).cpu().numpy() for network in self.networks]
            labels = [largest_components(values) for values in raw]
            first, second = (torch.from_numpy(values).to(self.device).long() for values in labels)
        target = _mix(batch.label, batch.label, mask)
        seen = self._look_at(batch.labeled_image, mask)
        supervised = _teach(seen, target, target)
        seen_u = self._look_at(unlabeled, mask_u)
        unsupervised = _teach(seen_u, _mix(second, first, mask_u), _mix(first, second, mask_u))
        conflict = _conflict(seen) + _conflict(seen_u)
        update(self.optimizer, supervised + UNLABELED_WEIGHT * unsupervised + DIS_WEIGHT * conflict)
        terms = torch.stack([term.detach().cpu() for term in (supervised, conflict, unsupervised)])
        return Found(terms, np.stack(raw).astype(np.int8), np.stack(labels).astype(np.int8))

    def _mask(self, image: Tensor) -> Tensor:
        """Ones (*space) with a box of zeros at a uniform position, "one binary mask per mixed batch"."""
        space = image.shape[2:]
        mask = torch.ones(space, device=self.device, dtype=torch.int64)
        sizes = [int(BOX_FRACTION * side) for side in space]
        starts = [int(torch.randint(side - size + 1, (1,), device=self.device))
                  for side, size in zip(space, sizes, strict=True)]
        mask[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))] = 0
        return mask

    def _look_at(self, image: Tensor, mask: Tensor) -> list[Output]:
        mixed = _mix(image, image, mask)
        return [network(mixed) for network in self.networks]


def largest_components(masks: np.ndarray) -> np.ndarray:
    """Keep the largest component of each foreground class (here one) of each sample, by scikit-image."""
    kept = []
    for mask in masks.astype(np.int64):
        result = np.zeros_like(mask)
        for number in range(1, 2):
            components = connected_components(mask == number)
            if components.max():
                largest = components == np.argmax(np.bincount(components.flat)[1:]) + 1
                result[largest] = number
        kept.append(result)
    return np.stack(kept)


def _mix(outside: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
    half = len(outside) // 2
    return outside[:half] * mask + inside[half:] * (1 - mask)


def _teach(seen: list[Output], first: Tensor, second: Tensor) -> Tensor:
    """Both networks' ``(CE + dice_mean_lin) / 2``."""
    losses = []
    for output, target in zip(seen, (first, second), strict=True):
        losses.append((functional.cross_entropy(output.logits, target) + _dice(output.logits.softmax(1), target)) / 2)
    return losses[0] + losses[1]


def _dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """Per sample and class, linear denominators, smoothing 1e-5."""
    truth = torch.stack([(target == number).float() for number in range(probabilities.shape[1])], 1)
    losses = []
    for number in range(probabilities.shape[1]):
        mine, true = probabilities[:, number].flatten(1), truth[:, number].flatten(1)
        losses.append(1 - (2 * (mine * true).sum(1) + 1e-5) / (mine.sum(1) + true.sum(1) + 1e-5))
    return torch.stack(losses).mean()


def _conflict(seen: list[Output]) -> Tensor:
    """``D(f0, f1) + D(f1, f0)``, cosine over the channels at every position."""
    f, g = (output.encoder[-1] for output in seen)
    return _discrepancy(f, g.detach()) + _discrepancy(g, f.detach())


def _discrepancy(mine: Tensor, other: Tensor) -> Tensor:
    mine, other = functional.normalize(mine, dim=1, eps=1e-6), functional.normalize(other, dim=1, eps=1e-6)
    return 1 + (mine * other).sum(1).mean()
