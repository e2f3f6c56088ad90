"""The 2D U-Net: parameters, shapes, dropout by depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.networks.unet2d import UNet2d


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_has_the_published_number_of_parameters():
    bilinear, deconv = UNet2d(1, 4), UNet2d(1, 4, decoder="deconv")
    assert parameters(bilinear) == 1_813_764
    assert parameters(bilinear.encoder) == parameters(deconv.encoder) == 1_180_464
    assert parameters(bilinear.decoder) == 633_300
    assert parameters(deconv.decoder) == 763_860


@pytest.mark.parametrize("decoder", ["bilinear", "deconv"])
@pytest.mark.parametrize(("channels", "classes"), [(1, 4), (3, 2)])
def test_maps_have_the_documented_shapes(decoder, channels, classes):
    output = UNet2d(channels, classes, decoder=decoder)(torch.randn(2, channels, 48, 32))
    assert output.logits.shape == (2, classes, 48, 32)
    sizes = [(2, 16 * 2**i, 48 // 2**i, 32 // 2**i) for i in range(5)]
    assert [tuple(x.shape) for x in output.encoder] == sizes
    assert [tuple(x.shape) for x in output.decoder] == sizes[-2::-1]


@pytest.mark.parametrize(
    ("dropout", "expected"), [(0.5, [0.05, 0.1, 0.2, 0.3, 0.5]), (0.2, [0.02, 0.04, 0.08, 0.12, 0.2])]
)
def test_dropout_grows_with_depth_and_spares_the_decoder(dropout, expected):
    network = UNet2d(1, 2, dropout=dropout)
    found = [m.p for m in network.encoder.modules() if isinstance(m, nn.Dropout)]
    assert found == pytest.approx(expected)
    assert not any(isinstance(m, nn.Dropout) for m in network.decoder.modules())


def test_without_dropout_training_has_no_randomness():
    network = UNet2d(1, 2, dropout=0.0)
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(image).logits, network(image).logits)


def test_activations_leak_a_hundredth():
    output = UNet2d(1, 2)(torch.randn(2, 1, 32, 32))
    assert output.decoder[3].min() < 0
    slopes = {m.negative_slope for m in UNet2d(1, 2).modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_logits_are_float32_under_autocast():
    network = UNet2d(1, 4).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(2, 1, 32, 32)).logits
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
