from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semivox.components.logit_mean import LogitMean
from semivox.networks.output import Output


class Constant(nn.Module):
    """The same logits at each voxel."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, image: Tensor) -> Output:
        shape = (len(image), len(self.logits), *image.shape[2:])
        return Output(self.logits.view(1, -1, 1, 1).expand(shape), (), ())


def test_logits_are_averaged_before_the_softmax() -> None:
    first, second = Constant(1.0, 5.0, -2.0), Constant(3.0, 0.0, 1.0)
    found = LogitMean(first, second)(torch.zeros(2, 1, 3, 3))
    expected = torch.tensor([2.0, 2.5, -0.5]).softmax(0)
    assert found.shape == (2, 3, 3, 3)
    assert torch.allclose(found, expected.view(1, 3, 1, 1).expand(2, 3, 3, 3))


def test_one_network_is_its_softmax_and_none_is_refused() -> None:
    alone = LogitMean(Constant(1.0, 2.0))(torch.zeros(1, 1, 2, 2))
    assert torch.allclose(alone[0, :, 0, 0], torch.tensor([1.0, 2.0]).softmax(0))
    with pytest.raises(ValueError, match="at least one network"):
        LogitMean()


def test_networks_are_shared() -> None:
    network = Constant(0.0, 1.0)
    assert next(LogitMean(network, network).parameters()) is network.logits
