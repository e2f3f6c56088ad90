"""The 3D U-Net: parameters, shapes, normalization, dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.networks.unet3d import UNet3d
from semivox.networks.vnet import VNet


def test_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in UNet3d(1, 2).parameters()) == 5_884_050


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 4)])
def test_maps_have_the_shapes_of_the_v_net(channels, classes):
    image = torch.randn(1, channels, 32, 16, 48)
    output, reference = UNet3d(channels, classes)(image), VNet(channels, classes)(image)
    assert output.logits.shape == (1, classes, 32, 16, 48)
    assert [x.shape for x in output.encoder] == [x.shape for x in reference.encoder]
    assert [x.shape for x in output.decoder] == [x.shape for x in reference.decoder]
    assert [x.shape[1] for x in output.decoder[1:]] == [64, 32, 16]


def test_each_map_is_normalized_per_sample_without_learned_scale():
    network = UNet3d(1, 2).double().eval()
    image = torch.randn(2, 1, 16, 16, 32, dtype=torch.float64)
    image[1] *= 100
    logits = network(image).logits
    torch.testing.assert_close(logits[1:], network(image[1:]).logits)
    assert not any(list(m.parameters()) + list(m.buffers()) for m in network.modules() if _is_normalization(m))
    assert sum(map(_is_normalization, network.modules())) == 18


def _is_normalization(module):
    return isinstance(module, nn.InstanceNorm3d)


def test_dropout_acts_on_single_elements_of_x5_and_x9():
    torch.manual_seed(0)
    image = torch.randn(2, 1, 32, 32, 32)
    with_dropout, without = UNet3d(1, 2), UNet3d(1, 2, dropout=0.0)
    without.load_state_dict(with_dropout.state_dict())
    dropped, kept = with_dropout(image), without(image)
    mine, other = dropped.encoder[4], kept.encoder[4]
    assert (mine[other > 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(mine[mine > 0], other[mine > 0] / 0.7)
    zeros = [(maps.decoder[3] == 0).float().mean().item() for maps in (dropped, kept)]
    assert 1 - zeros[0] == pytest.approx(0.7 * (1 - zeros[1]), abs=0.03)
    torch.testing.assert_close(dropped.logits, with_dropout.out(dropped.decoder[3]))


def test_weights_are_kaiming_by_default():
    torch.manual_seed(0)
    weight = UNet3d(1, 2).encoder[4][3].weight
    assert weight.std().item() == pytest.approx((2 / (256 * 27)) ** 0.5, rel=0.02)


def test_upsampling_does_not_align_corners():
    upsample = UNet3d(1, 2).upsample
    assert isinstance(upsample, nn.Upsample)
    ramp = torch.arange(2.0).view(1, 1, 2, 1, 1)
    assert upsample(ramp).flatten(2)[0, 0, ::4].tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_logits_are_float32_under_autocast():
    network = UNet3d(2, 4).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(1, 2, 32, 32, 16)).logits
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
