from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from semivox.components.probabilities import Probabilities


class Logits(NamedTuple):
    logits: Tensor


class Fixed(nn.Module):
    """A network that answers the same two logits everywhere."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([first, second]))

    def forward(self, image: Tensor) -> Logits:
        return Logits(self.values.view(1, 2, 1, 1).expand(len(image), 2, *image.shape[2:]))


def test_one_network_gives_its_softmax() -> None:
    probs = Probabilities(Fixed(0.0, 1.0))(torch.zeros(3, 1, 4, 5))
    assert probs.shape == (3, 2, 4, 5)
    assert probs[0, :, 0, 0].tolist() == pytest.approx([1 / (1 + torch.e), torch.e / (1 + torch.e)])


def test_several_networks_give_the_mean_of_their_probabilities_not_of_their_logits() -> None:
    probs = Probabilities(Fixed(0.0, 100.0), Fixed(0.0, 0.0))(torch.zeros(1, 1, 2, 2))
    assert probs[0, :, 0, 0].tolist() == pytest.approx([0.25, 0.75])


def test_networks_are_shared_not_copied() -> None:
    network = Fixed(0.0, 1.0)
    assert next(Probabilities(network).parameters()) is network.values


def test_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one network"):
        Probabilities()
