"""Two networks that label scans for each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semivox.components.largest_component import largest_component, largest_component_later
from semivox.components.normalization import evaluation_pass
from semivox.components.voxels import confidence_and_class
from semivox.errors import UsageError


class PeerLabels(NamedTuple):
    """Hard pseudo-labels of two networks and what to watch about them."""

    first: Tensor
    """(B, *space) int64, of network 0."""
    second: Tensor
    """(B, *space) int64, of network 1."""
    watch: dict[str, Tensor]
    """Shares of voxels, 0..1: ``agreement`` where both labels are equal, ``pseudo_foreground`` with a foreground class,
    ``filtered`` removed by the filter; the last two are means over both networks."""


@torch.no_grad()
def peer_labels_later(
    peers: tuple[nn.Module, nn.Module], image: Tensor, *, deployed: bool = False
) -> Callable[[], PeerLabels]:
    """Begin ``Y_i = LCC(argmax_k z_i(image))``; the call of the result finishes it.

    Between the two a GPU can compute something else while the labels are on their way to the host, which filters them.

    Args:
        peers: two networks with ``logits`` (B, K, *space).
        image: (B, C, *space).
        deployed: without dropout and with running statistics; otherwise in the networks' mode, which in training
            updates their running statistics.
    """
    outputs = [evaluation_pass(network, image) if deployed else network(image) for network in peers]
    raw = torch.cat([confidence_and_class(output.logits)[1] for output in outputs])
    filtered = largest_component_later(raw)

    def finish() -> PeerLabels:
        labels = filtered()
        first, second = labels.chunk(2)
        shares = {"agreement": first == second, "pseudo_foreground": labels > 0, "filtered": labels != raw}
        return PeerLabels(first, second, {name: voxels.float().mean() for name, voxels in shares.items()})

    return finish


class FilteredLabels(nn.Module):
    """The hard labels with which a network teaches its peer, as probabilities 0 and 1: to be watched.

    Args:
        network: its output has ``logits``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, *space) to (B, K, *space): 1 for the class of a voxel after the component filter."""
        logits = self.network(image).logits
        label = largest_component(confidence_and_class(logits)[1])
        return torch.zeros_like(logits).scatter_(1, label.unsqueeze(1), 1.0)


def unused_decoder(network: nn.Module) -> nn.Module:
    """The decoder of a network that is built and never trained (the code released for CML on ACDC has one).

    Raises:
        UsageError: the network has no part of that name.
    """
    decoder = getattr(network, "decoder", None)
    if not isinstance(decoder, nn.Module):
        problem = f"{type(network).__name__} has no encoder and decoder to share"
        raise UsageError("C3", "method.shared_debug", problem, "leave it out, or choose a network of Semivox")
    return decoder.requires_grad_(False)
