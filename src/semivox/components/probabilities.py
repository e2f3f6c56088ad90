"""Probabilities of networks: as the logarithms that several losses share, and as what is deployed."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


def flat_log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities with the voxels in one row, for losses to share: (B, K, V) float32.

    Args:
        logits: (B, K, *space) in any memory format; they are not copied to another one first.
    """
    return logits.float().flatten(2).log_softmax(1)


class Probabilities(nn.Module):
    """Return the class probabilities of a network, or the mean of those of several networks.

    The networks are shared with whoever built this module, not copied. Put it in evaluation mode before use.

    Args:
        *networks: modules whose output has ``logits`` of shape (B, K, *space).
        average: of what the mean is taken: ``"probabilities"``; or ``"logits"``, ``softmax((z_0 + z_1) / 2)`` for two,
            proportional to the geometric mean of the probabilities: a network that is very sure outvotes others.
    """

    def __init__(self, *networks: nn.Module, average: Literal["probabilities", "logits"] = "probabilities") -> None:
        super().__init__()
        if not networks:
            raise ValueError("Probabilities needs at least one network, got none")
        self.networks = nn.ModuleList(networks)
        self.average = average

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to probabilities (B, K, *space) that sum to 1 over the classes."""
        total, *others = (self._averaged(network(image).logits) for network in self.networks)
        for values in others:
            total = total + values
        mean = total / len(self.networks) if others else total
        return mean.softmax(1) if self.average == "logits" else mean

    def _averaged(self, logits: Tensor) -> Tensor:
        return logits if self.average == "logits" else logits.softmax(1)
