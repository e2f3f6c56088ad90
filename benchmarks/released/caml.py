"""One step of CAML as its released code takes it.

Costs and the sentences of ``caml.md`` that they come from:

- probabilities and sharpened probabilities of both networks are written into buffers in main memory, with their
  gradients: "gradients of y_ori: stored in CPU buffers (slow), autograd kept";
- every labeled voxel is projected, two million for each network, before the right ones are chosen: "the release
  projects ~2*10^6 voxels per net". Unlabeled voxels are projected after their selection (steps 6 and 7), which is the
  cheaper reading of that sentence;
- the memory holds every right voxel of a case in main memory and is pooled as a whole for each draw: "one array of
  *all* correct voxels per case, host numpy", "pool all filled slots";
- the surest voxels are found by a full sort: "``topk`` instead of full sort" is named as what it does not do;
- the similarities of all rows exist as a whole, in the prediction and in the target, with gradients (steps 7 to 9).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from released.update import optimizer_of, update
from semivox.components.heads import EmbeddingHead, RowMLP
from semivox.methods.caml import CAML
from semivox.types import Batch

PROTOTYPES, ROWS, TEMPERATURE = 256, 12_800, 10.0
SUPERVISED_WEIGHT, OCC_WEIGHT = 0.5, 0.05


class Head(nn.Module):
    """Projection and prediction: "Linear-BN1d-ReLU-Linear", one pair per network, with the weights of ours."""

    def __init__(self, ours: EmbeddingHead) -> None:
        super().__init__()
        assert ours.prediction is not None
        self.projection, self.prediction = _mlp(ours.projection), _mlp(ours.prediction)


class View(NamedTuple):
    """What a network says about the batch."""

    probabilities: Tensor
    """(B, 2, *space)."""
    confidence: Tensor
    """(B, *space)."""
    answer: Tensor
    """(B, *space)."""
    features: Tensor
    """(B, 16, *space)."""


class ReleasedCAML:
    """The step, with the networks, the initial weights and the embedding width of ``method``."""

    def __init__(self, method: CAML) -> None:
        self.networks = (method.vanilla, method.auxiliary)
        self.device = next(method.parameters()).device
        self.heads = [Head(ours).to(self.device) for ours in (method.vanilla_head, method.auxiliary_head)]
        self.memory: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.optimizer = optimizer_of([*self.networks, *self.heads])
        self.rng = np.random.default_rng(0)

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step; returns its three terms: supervised, cross, omni-correlation."""
        outputs = [network(batch.image) for network in self.networks]
        supervised, cross = self._segmentation([output.logits for output in outputs], batch)
        views = []
        for output in outputs:
            probabilities = output.logits.softmax(1)
            views.append(View(probabilities, *torch.max(probabilities, 1), output.decoder[-1]))
        self._remember(views, batch)
        occ = self._correlation(views, batch.labeled_count)
        update(self.optimizer, SUPERVISED_WEIGHT * supervised + cross + OCC_WEIGHT * occ)
        return torch.stack([supervised.detach().cpu(), cross.detach().cpu(), occ.detach().cpu()])

    def _segmentation(self, logits: list[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Foreground Dice of the labeled samples, and the squared difference to the peer's sharpened answer."""
        answers = torch.zeros(len(logits), *logits[0].shape)  # in main memory, filled row by row
        sharp = torch.zeros(len(logits), *logits[0].shape)
        supervised = torch.zeros((), device=self.device)
        for index, values in enumerate(logits):
            labeled = values[: batch.labeled_count].softmax(1)
            supervised = supervised + _dice(labeled[:, 1], batch.label == 1)
            probabilities = values.softmax(1)
            answers[index] = probabilities
            power = probabilities**10
            sharp[index] = power / (power + (1 - probabilities) ** 10)
        cross = torch.zeros(())
        for index in range(len(logits)):
            for other in range(len(logits)):
                if other != index:
                    cross = cross + ((answers[index] - sharp[other]) ** 2).mean()
        return supervised, cross.to(self.device)

    @torch.no_grad()
    def _remember(self, views: list[View], batch: Batch) -> None:
        """Project all labeled voxels, keep those that both networks get right on the host, case by case."""
        count = batch.labeled_count
        right = torch.stack([view.answer[:count] == batch.label for view in views]).all(0)
        projected = []
        for head, view in zip(self.heads, views, strict=True):
            rows = view.features[:count].permute(0, 2, 3, 4, 1).reshape(-1, view.features.shape[1])
            head.eval()
            projected.append(head.projection(rows).view(count, -1, head.projection[-1].out_features))
            head.train()
        mean = (projected[0] + projected[1]) / 2
        for sample in range(count):
            chosen = right[sample].flatten()
            vectors, labels = mean[sample][chosen], batch.label[sample].flatten()[chosen]
            self.memory[int(batch.case[sample])] = vectors.cpu().numpy(), labels.cpu().numpy()

    def _prototypes(self) -> Tensor | None:
        """256 vectors of each class, drawn from the pool of all cases; of a class with fewer none."""
        vectors, labels = (np.concatenate(parts) for parts in zip(*self.memory.values(), strict=True))
        found = []
        for number in range(2):
            members = vectors[labels == number]
            if len(members) >= PROTOTYPES:
                found.append(members[self.rng.choice(len(members), PROTOTYPES, replace=False)])
        return torch.from_numpy(np.concatenate(found)).to(self.device) if found else None

    def _correlation(self, views: list[View], labeled: int) -> Tensor:
        """Cross-entropy of the similarity distributions of the surest unlabeled voxels on which both agree."""
        prototypes = self._prototypes()
        chosen = _surest(views, labeled)
        if prototypes is None or not chosen:
            return torch.zeros((), device=self.device)
        distributions = []
        for head, view in zip(self.heads, views, strict=True):
            rows = view.features[labeled:].permute(0, 2, 3, 4, 1).reshape(-1, view.features.shape[1])
            rows = torch.cat([rows[index] for index in chosen])
            embedded = head.prediction(head.projection(rows))
            distributions.append((embedded @ prototypes.T * TEMPERATURE).softmax(1))
        prediction, target = distributions
        return -(target * torch.log(prediction + 1e-8)).sum(1).mean()


def _surest(views: list[View], labeled: int) -> list[Tensor]:
    """Positions of the surest agreeing unlabeled voxels of each class, by a full sort of the vanilla confidence."""
    vanilla, auxiliary = views
    answer = vanilla.answer[labeled:].flatten()
    agree = answer == auxiliary.answer[labeled:].flatten()
    confidence = vanilla.confidence[labeled:].flatten()
    found = []
    for number in range(2):
        position = torch.nonzero(agree & (answer == number)).squeeze(1)
        if len(position) > 1:
            order = torch.sort(confidence[position], descending=True).indices
            found.append(position[order[:ROWS]])
    return found


def _dice(probability: Tensor, target: Tensor) -> Tensor:
    """``dice_fg_lin`` of ``common.md``: sums over the batch, smoothing 1e-8."""
    truth = target.float()
    return 1 - (2 * (probability * truth).sum() + 1e-8) / (probability.sum() + truth.sum() + 1e-8)


def _mlp(ours: RowMLP) -> nn.Sequential:
    """The layers with the weights of ours."""
    inputs, width = ours.first.in_features, ours.first.out_features
    layers = nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
    with torch.no_grad():
        for mine, theirs in zip(layers.parameters(), ours.parameters(), strict=True):
            mine.copy_(theirs)
    return layers
