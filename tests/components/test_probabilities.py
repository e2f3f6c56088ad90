from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from semivox.components.probabilities import Probabilities, flat_log_softmax


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


def test_logits_are_averaged_before_the_softmax_if_so_wanted() -> None:
    probs = Probabilities(Fixed(1.0, 5.0), Fixed(3.0, 0.0), average="logits")(torch.zeros(2, 1, 3, 3))
    expected = torch.tensor([2.0, 2.5]).softmax(0)
    assert probs.shape == (2, 2, 3, 3)
    assert torch.allclose(probs, expected.view(1, 2, 1, 1).expand(2, 2, 3, 3))


def test_one_network_is_its_softmax_whatever_is_averaged() -> None:
    image = torch.zeros(1, 1, 2, 2)
    assert torch.equal(Probabilities(Fixed(1.0, 2.0), average="logits")(image), Probabilities(Fixed(1.0, 2.0))(image))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("space", [(4, 3), (3, 2, 4)], ids=["2d", "3d"])
def test_flat_log_softmax_is_log_softmax_with_the_voxels_in_one_row(classes: int, space: tuple[int, ...]) -> None:
    logits = torch.randn(2, classes, *space)
    kind = torch.channels_last if len(space) == 2 else torch.channels_last_3d
    for each in (logits, logits.to(memory_format=kind)):
        torch.testing.assert_close(flat_log_softmax(each), logits.log_softmax(1).flatten(2))
