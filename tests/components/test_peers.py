from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semivox.components.peers import peer_labels_later, unused_decoder
from semivox.errors import UsageError
from semivox.networks.output import Output
from semivox.networks.unet2d import UNet2d


class Threshold(nn.Module):
    """Foreground where the intensity is above a threshold; with dropout of single voxels of the image."""

    def __init__(self, threshold: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> Output:
        foreground = self.dropout(image) - self.threshold
        return Output(torch.cat([torch.zeros_like(foreground), foreground], 1), (), ())


IMAGE = torch.tensor([[0.9, 0.9, 0.0, 0.0, 0.6], [0.0, 0.0, 0.0, 0.0, 0.0], [0.4, 0.0, 0.0, 0.0, 0.0]]).view(1, 1, 3, 5)


def test_labels_are_the_largest_components_of_each_network_with_their_shares() -> None:
    labels = peer_labels_later((Threshold(0.5), Threshold(0.3)), IMAGE)()
    expected = torch.zeros(1, 3, 5, dtype=torch.int64)
    expected[0, 0, :2] = 1
    assert torch.equal(labels.first, expected)  # without the single voxel of 0.6
    assert torch.equal(labels.second, expected)  # without those of 0.6 and 0.4
    assert labels.watch["agreement"] == 1
    assert labels.watch["pseudo_foreground"] == pytest.approx(2 / 15)
    assert labels.watch["filtered"] == pytest.approx(3 / 30)


def test_agreement_is_the_share_of_voxels_with_equal_labels() -> None:
    labels = peer_labels_later((Threshold(0.5), Threshold(2.0)), IMAGE)()
    assert labels.second.sum() == 0
    assert labels.watch["agreement"] == pytest.approx(13 / 15)
    assert labels.watch["pseudo_foreground"] == pytest.approx(2 / 30)


def test_nothing_of_it_has_a_gradient() -> None:
    labels = peer_labels_later((Threshold(0.5), Threshold(0.3)), IMAGE.clone().requires_grad_())()
    assert not any(tensor.requires_grad for tensor in (labels.first, labels.second, *labels.watch.values()))


def test_deployed_decides_whether_dropout_acts() -> None:
    torch.manual_seed(0)
    image = torch.full((1, 1, 20, 20), 0.6)
    peers = (Threshold(0.5, dropout=0.5).train(), Threshold(0.5, dropout=0.5).train())
    steady = peer_labels_later(peers, image, deployed=True)()
    assert steady.first.all()
    assert steady.watch["agreement"] == 1
    assert peer_labels_later(peers, image)().watch["agreement"] < 0.9
    assert all(network.training for network in peers)


def test_unused_decoder_is_the_decoder_without_training() -> None:
    network = UNet2d(1, 2, width=4)
    decoder = unused_decoder(network)
    assert decoder is network.decoder
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    assert all(parameter.requires_grad for parameter in network.encoder.parameters())
    with pytest.raises(UsageError, match="Threshold has no encoder and decoder to share"):
        unused_decoder(Threshold(0.5))
