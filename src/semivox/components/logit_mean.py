"""LogitMean: several networks deployed as one that averages before the softmax."""

from __future__ import annotations

from torch import Tensor, nn


class LogitMean(nn.Module):
    """Return the softmax of the mean of the networks' logits: ``softmax((z_0 + z_1) / 2)`` for two.

    Proportional to the geometric mean of their probabilities, so a network that is very sure outvotes one that is not;
    :class:`semivox.components.probabilities.Probabilities` is the arithmetic mean. The networks are shared with whoever
    built this module, not copied. Put it in evaluation mode before use.

    Args:
        *networks: modules whose output has ``logits`` of shape (B, K, *space).
    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        if not networks:
            raise ValueError("LogitMean needs at least one network, got none")
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to probabilities (B, K, *space) that sum to 1 over the classes."""
        first, *others = self.networks
        total: Tensor = first(image).logits
        for network in others:
            total = total + network(image).logits
        return (total / len(self.networks)).softmax(1)
