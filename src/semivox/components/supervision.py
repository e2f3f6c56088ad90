"""Cooperative positive supervision (CRLN): unsure voxels are pulled towards a cautious center of their class.

The representation of a voxel is made from its decoder features by a 3x3x3 and a 1x1x1 convolution. A map of 64 channels
at full size would be the largest tensor of the step, so it is never made: the second convolution is affine, so the
mean of a class is taken before it, and only voxels that were drawn go through it. Gradients flow through anchors
alone, so the first convolution is differentiated only around them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from semivox.components.voxels import class_means, class_members, draw, neighborhoods
from semivox.losses.contrastive import info_nce

Positive = Literal["mixed", "mean", "proto"]
XiMode = Literal["fixed", "uniform"]


class SupervisionSettings(NamedTuple):
    """Settings of :class:`PositiveSupervision`."""

    hidden: int
    """h, channels between the two convolutions."""
    activate: bool
    """Batch normalization and ReLU between them."""
    threshold: float
    """tau: voxels whose probability of their class is below it can be anchors."""
    anchors: int
    """Anchors of each class."""
    negatives: int
    """Negatives of each class, or of each anchor."""
    per_anchor: bool
    """Negatives for each anchor instead of for each class."""
    temperature: float
    positive: Positive
    """What the anchors are pulled to: see :func:`positives`."""
    xi: float
    """Weight of the prototypes in ``mixed``."""
    xi_mode: XiMode
    """``uniform`` draws it from U(0, 1), once for each class and step."""


class Hidden(NamedTuple):
    """What the first convolution makes of all voxels, without a graph, and how it was normalized."""

    rows: Tensor
    """(V, h), after the activation."""
    mean: Tensor | None
    """(h,) of the normalization: the batch's in training, the running one else; None without one."""
    variance: Tensor | None
    """(h,), biased."""


class RepresentationHead(nn.Module):
    """``r = conv1(ReLU(BN(conv3(f4))))``, at those voxels where it is asked for (CRLN, Eq. 9).

    In training mode the statistics of the normalization are the batch's, as in ``nn.BatchNorm3d``, but constants in
    the backward pass: their gradient would need the convolution of all voxels to be differentiated. The part left out
    is proportional to the gradients of the normalization's own weight and bias, and vanishes where these are fitted.

    Args:
        inputs: F4, channels of the finest decoder map.
        outputs: F, channels of the representation.
        dimensions: 2 or 3.
        settings: ``hidden`` and ``activate``. 16,032 parameters for 16, 64 and 32 channels.
    """

    def __init__(self, inputs: int, outputs: int, *, dimensions: int, settings: SupervisionSettings) -> None:
        super().__init__()
        convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
        normalization = nn.BatchNorm3d if dimensions == 3 else nn.BatchNorm2d
        self.convolution = convolution(inputs, settings.hidden, 3, padding=1)
        self.norm = normalization(settings.hidden) if settings.activate else None
        self.projection = nn.Linear(settings.hidden, outputs)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Hidden:
        """The first convolution of all voxels of f4 (B, F4, *space); updates the running statistics in training."""
        maps = self.convolution(features)
        if self.norm is None:
            return Hidden(_rows(maps), None, None)
        running = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        mean, variance = (each.clone() for each in running)
        weights = self.norm.weight, self.norm.bias
        # momentum 1 writes the batch's own statistics into the two clones
        maps = functional.batch_norm(maps, mean, variance, *weights, training=self.training, momentum=1.0)
        if self.training:
            torch._foreach_lerp_(running, (mean, variance), cast(float, self.norm.momentum))
            cast(Tensor, self.norm.num_batches_tracked).add_(1)
            count = maps.numel() // maps.shape[1]
            variance *= (count - 1) / count
        return Hidden(_rows(functional.relu(maps)), mean, variance)

    def at(self, features: Tensor, index: Tensor, hidden: Hidden) -> Tensor:
        """Representations (n, F) of some voxels, with gradients to ``features`` and to the head.

        Args:
            features: f4, (B, F4, *space).
            index: (n,) integers, positions among all V voxels of the batch.
            hidden: what :meth:`forward` returned for these features.
        """
        weight = self.convolution.weight.movedim(1, -1).flatten(1)
        patches = neighborhoods(features, index).flatten(1).to(weight.dtype)
        rows = functional.linear(patches, weight, self.convolution.bias)
        if self.norm is not None:
            weights = self.norm.weight, self.norm.bias
            rows = functional.batch_norm(rows, hidden.mean, hidden.variance, *weights, training=False)
            rows = functional.relu(rows)
        return self.project(rows)

    def project(self, rows: Tensor) -> Tensor:
        """The second convolution of hidden rows (..., h), or of means of them: (..., F)."""
        projected: Tensor = self.projection(rows.to(self.projection.weight.dtype))
        return projected


class PositiveSupervision(nn.Module):
    """The loss ``l_cp`` (CRLN, Eq. 9-14).

    Of each class c, with labels y* and the voxels V that have a trusted one: anchors are V with y* = c and
    ``p_c < tau``, negatives are V with y* != c, both drawn uniformly; the positive is between the mean of the class
    and its prototypes. The loss is the mean over a class's anchors, then over the classes that have both.

    Args:
        inputs: F4, channels of the finest decoder map.
        outputs: F, channels of the representation, those of the prototypes.
        dimensions: 2 or 3.
        settings: everything else.
    """

    def __init__(self, inputs: int, outputs: int, *, dimensions: int, settings: SupervisionSettings) -> None:
        super().__init__()
        self.head = RepresentationHead(inputs, outputs, dimensions=dimensions, settings=settings)
        self.settings = settings

    def forward(
        self, features: Tensor, probabilities: Tensor, label: Tensor, trusted: Tensor, prototypes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the share of voxels that can be anchors; both scalar float32.

        Args:
            features: f4, (B, F4, *space).
            probabilities: p, (B, K, *space).
            label: y*, (B, *space) integers 0..K-1.
            trusted: (B, *space) boolean.
            prototypes: (K, R, F); None takes the mean of the class for the positive.
        """
        settings, classes = self.settings, probabilities.shape[1]
        hidden = self.head(features.detach())
        own = probabilities.detach().gather(1, label.unsqueeze(1)).flatten()
        label, trusted = label.flatten(), trusted.flatten()
        unsure = trusted & (own < settings.threshold)
        with torch.autocast(features.device.type, enabled=False):
            drawn = [self._drawn(label, trusted, unsure, number) for number in range(classes)]
            anchors, negatives, usable = (torch.stack(each) for each in zip(*drawn, strict=True))
            with torch.no_grad():
                members = class_members(label, trusted, classes=classes)
                means = self.head.project(class_means(hidden.rows, members))
                targets = positives(means, prototypes, settings)
                others = self.head.project(hidden.rows[negatives])
            vectors = self.head.at(features, anchors.flatten(), hidden).view(*anchors.shape, -1)
            losses = info_nce(vectors, targets, others, temperature=settings.temperature).mean(1)
        loss = torch.where(usable, losses, 0.0).sum() / usable.sum().clamp(min=1)
        return loss, unsure.float().mean()

    def _drawn(self, label: Tensor, trusted: Tensor, unsure: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (A,) and negatives (N,) or (A, N) of a class, and whether it has both."""
        settings, mine = self.settings, label == number
        anchors, some = draw(unsure & mine, settings.anchors)
        wanted = settings.anchors * settings.negatives if settings.per_anchor else settings.negatives
        negatives, others = draw(trusted & ~mine, wanted)
        if settings.per_anchor:
            negatives = negatives[torch.randperm(wanted, device=negatives.device)].view(settings.anchors, -1)
        return anchors, negatives, some & others


def positives(means: Tensor, prototypes: Tensor | None, settings: SupervisionSettings) -> Tensor:
    """r+ of each class, (K, F): the mean of the class, that of its prototypes, or both (CRLN, Eq. 13).

    ``mixed`` is ``(r_m + xi mean_R(P)) / (1 + xi)``, on the segment between the two.

    Args:
        means: r_m, (K, F).
        prototypes: P, (K, R, F), or None, which leaves the mean of the class.
        settings: ``positive``, ``xi`` and ``xi_mode``.
    """
    if prototypes is None or settings.positive == "mean":
        return means
    centers = prototypes.detach().mean(1)
    if settings.positive == "proto":
        return centers
    xi = torch.rand_like(means[:, :1]) if settings.xi_mode == "uniform" else settings.xi
    return (means + xi * centers) / (1 + xi)


def _rows(maps: Tensor) -> Tensor:
    """(V, D) of maps (B, D, *space); a view for maps that keep their channels last."""
    return maps.movedim(1, -1).flatten(0, -2)
