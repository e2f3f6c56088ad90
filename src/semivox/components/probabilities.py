"""Probabilities: the deployed form of one network or of several that vote."""

from __future__ import annotations

from torch import Tensor, nn


class Probabilities(nn.Module):
    """Return the class probabilities of a network, or the mean of those of several networks.

    The networks are shared with whoever built this module, not copied. Put it in evaluation mode before use.

    Args:
        *networks: modules whose output has ``logits`` of shape (B, K, *space).
    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        if not networks:
            raise ValueError("Probabilities needs at least one network, got none")
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to probabilities (B, K, *space) that sum to 1 over the classes."""
        first, *others = self.networks
        total: Tensor = first(image).logits.softmax(1)
        for network in others:
            total = total + network(image).logits.softmax(1)
        return total / len(self.networks) if others else total
