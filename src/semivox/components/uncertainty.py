"""Which voxels an answer can be trusted on (entropy below a percentile), and what is done with the others (Dual-Net).

Choices of voxels have no gradient. Nothing waits for the device: counts stay tensors, sizes follow from shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from semivox.components.consensus import union_label
from semivox.components.voxels import class_means, class_members, features_at, top_per_class
from semivox.losses.prototype import PairSign, Prototypes, prototype_distance
from semivox.networks.features import decoder_widths


@torch.no_grad()
def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy of each voxel in nats: ``-sum_k p_k log p_k``.

    Args:
        log_probabilities: log p, (B, K, *space).

    Returns:
        (B, *space) float32, in [0, log K].
    """
    logs = log_probabilities.float()
    return -(logs.exp() * logs).sum(1)


@torch.no_grad()
def above_percentile(values: Tensor, percentile: float) -> Tensor:
    """Which values lie above a percentile of all of them: ``values > P``, strictly.

    With ">=" nothing would be left as soon as the values at the percentile tie, and entropies do tie: at exactly zero,
    where a softmax saturates. P is the largest value at or below the position ``percentile (N - 1) / 100`` of the
    sorted values; interpolating to the next one would give the same answer, since no value lies between the two.

    Args:
        values: N values of any shape.
        percentile: 0..100.

    Returns:
        Boolean of the same shape; at least ``percentile`` per cent of it, and at least one value, is False.
    """
    rank = int(percentile * (values.numel() - 1) / 100) + 1
    below = values.flatten().topk(rank, largest=False, sorted=False).values
    return values > below.amax()


@torch.no_grad()
def reliable_voxels(first_entropy: Tensor, second_entropy: Tensor, percentile: float) -> Tensor:
    """The voxels on which at least one of two networks is sure: not above its percentile of entropy.

    Args:
        first_entropy: (B, *space) of one network.
        second_entropy: the same shape, of the other; swapping them changes nothing.
        percentile: of the entropies of all voxels of the batch, 0..100.

    Returns:
        (B, *space) boolean; without ties ``percentile`` to twice ``percentile`` per cent of it is True.
    """
    unsure = above_percentile(first_entropy, percentile) & above_percentile(second_entropy, percentile)
    return ~unsure


class Sample(NamedTuple):
    """Voxels drawn from each class. K classes, M places for each."""

    position: Tensor
    """(K, M) int64 into the flattened voxels."""
    chosen: Tensor
    """(K, M) boolean, the places that hold a drawn voxel; the position of the others means nothing."""


@torch.no_grad()
def sample_candidates(answer: Tensor, eligible: Tensor, classes: int, share: float) -> Sample:
    """Draw voxels of each answered class at random, without replacement, as many of each class.

    The number is ``max(1, floor(share n))`` with n the eligible foreground voxels over the K - 1 foreground classes
    (Dual-Net: with K = 2, one per cent of the foreground candidates, for both classes); a class that has fewer
    gives all of them.

    Args:
        answer: (V,) integers 0..K-1.
        eligible: (V,) boolean, the voxels to draw from.
        classes: K.
        share: 0..1.

    Returns:
        At most ``max(1, floor(share V))`` places for each class.
    """
    places = max(1, int(share * answer.numel()))
    order = torch.rand((1, answer.numel()), device=answer.device)
    rows = top_per_class(order, answer[None], eligible[None], classes=classes, limit=places)
    wanted = (share * rows.members[:, 1:].sum() / (classes - 1)).floor().clamp(min=1)
    rank = torch.arange(rows.valid.shape[2], device=answer.device)
    return Sample(rows.position[0], rows.valid[0] & (rank < wanted))


def pseudo_labels(first: Tensor, second: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """The label of each unlabeled voxel from two networks, and whether it is reliable.

    Args:
        first: log-probabilities of one network, (B, K, *space); taken for constants.
        second: the same shape, of the other; swapping them changes nothing.
        percentile: see :func:`reliable_voxels`.

    Returns:
        Labels (B, *space) int64 by :func:`semivox.components.consensus.union_label`, reliable voxels (B, *space)
        boolean.
    """
    reliable = reliable_voxels(entropy(first), entropy(second), percentile)
    return union_label(first.detach().exp(), second.detach().exp()), reliable


class UncertainToPrototype(nn.Module):
    """Distance of uncertain voxels' features to the prototypes of the reliable ones (``L_c``).

    The prototype of a class is the mean feature of the reliable voxels with its label. Of the other voxels a random
    sample is drawn, see :func:`sample_candidates`, each towards the prototype of the class that it is answered with.

    Args:
        *networks: those whose last decoder map will be the features; none of them is kept.
        classes: K.
        share: of the uncertain foreground voxels, that are drawn.
        pair_sign: see :func:`semivox.losses.prototype.prototype_distance`.

    Raises:
        UsageError: a network does not expose its decoder maps.
    """

    def __init__(
        self, *networks: nn.Module, classes: int, share: float = 0.01, pair_sign: PairSign = "minus"
    ) -> None:
        super().__init__()
        for network in networks:
            decoder_widths(network, needed_by="the prototype term")
        self.classes = classes
        self.share = share
        self.pair_sign = pair_sign

    def forward(self, features: Tensor, answer: Tensor, label: Tensor, reliable: Tensor) -> Tensor:
        """Scalar float32.

        Args:
            features: (B, D, *space) of the network that learns; the only one with a gradient.
            answer: (B, V) integers, its own answers, space flattened.
            label: (B, V) integers, the pseudo-labels.
            reliable: (B, V) boolean.
        """
        sample = sample_candidates(answer.flatten(), ~reliable.flatten(), self.classes, self.share)
        candidates = features_at(features, sample.position)
        members = class_members(label, reliable, classes=self.classes)
        means = class_means(features.float().flatten(2).mT, members)  # sums over a million voxels are float32
        prototypes = Prototypes(means, members.any(-1).any(0))
        return prototype_distance(candidates, sample.chosen, prototypes, pair_sign=self.pair_sign)
