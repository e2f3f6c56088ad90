"""What two networks say together: their union as a label, and where they contradict each other with confidence.

Both rules treat the networks alike: swapping them changes nothing. Nothing here has a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from semivox.components.voxels import confidence_and_class


@torch.no_grad()
def union_label(first: Tensor, second: Tensor) -> Tensor:
    """Foreground where either network says so (Dual-Net).

    A voxel that only one network answers with a foreground class gets this class; if both do, with different classes,
    the class of the network that is surer; ties go to the smaller class. With K = 2: ``argmax p OR argmax q``.

    Args:
        first: p, (B, K, *space) probabilities.
        second: q, the same shape.

    Returns:
        (B, *space) int64, 0..K-1.
    """
    (first_sure, one), (second_sure, other) = _foreground(first), _foreground(second)
    surer = torch.where(second_sure > first_sure, other, torch.minimum(one, other))
    return torch.where(first_sure > second_sure, one, surer)


@torch.no_grad()
def contested_voxels(first: Tensor, second: Tensor, confidence: float) -> Tensor:
    """Where the confident foreground answers of two networks differ (Dual-Net).

    A network's confident answer is its most probable foreground class where the probability of that is at least
    ``confidence``, else none. With K = 2: ``[p_1 >= confidence] XOR [q_1 >= confidence]``.

    Args:
        first: p, (B, K, *space) probabilities.
        second: q, the same shape.
        confidence: 0..1.

    Returns:
        (B, *space) boolean.
    """
    return _confident(first, confidence) != _confident(second, confidence)


class Union(nn.Module):
    """The union of two networks' answers in the form of probabilities, zeros and ones.

    Args:
        first: module from an image to an output with ``logits`` (B, K, *space); shared, not copied.
        second: the same.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to (B, K, *space) float32 with a one at the class of :func:`union_label`."""
        one, other = self.first(image).logits.softmax(1), self.second(image).logits.softmax(1)
        return functional.one_hot(union_label(one, other), one.shape[1]).movedim(-1, 1).float()


def _foreground(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Probability and class of a foreground answer, (B, *space) each; zero and zero where background is as likely."""
    value, index = confidence_and_class(probabilities[:, 1:])
    says = value > probabilities[:, 0]
    return torch.where(says, value, 0.0), torch.where(says, index + 1, 0)


def _confident(probabilities: Tensor, confidence: float) -> Tensor:
    """(B, *space) int64, the confident foreground class, 0 where there is none."""
    value, index = confidence_and_class(probabilities[:, 1:])
    return torch.where(value >= confidence, index + 1, 0)
