"""The V-Net: parameters, shapes, where its switches act."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semivox.networks.vnet import VNet, VNetDecoder, VNetEncoder


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_has_the_published_number_of_parameters():
    network = VNet(1, 2)
    assert parameters(network) == 9_448_866
    assert parameters(network.encoder) == 7_376_896
    assert parameters(network.decoder) == 2_071_970


@pytest.mark.parametrize("upsampling", ["trilinear", "nearest"])
def test_the_interpolating_decoders_have_the_published_number_of_parameters(upsampling):
    assert parameters(VNetDecoder(2, upsampling=upsampling)) == 2_898_850


@pytest.mark.parametrize("decoder", ["deconv", "trilinear", "nearest"])
def test_each_further_class_adds_17_parameters(decoder):
    assert parameters(VNet(1, 5, decoder=decoder)) - parameters(VNet(1, 2, decoder=decoder)) == 3 * 17


def test_each_further_channel_adds_one_kernel_per_feature():
    assert parameters(VNet(3, 2)) - parameters(VNet(1, 2)) == 2 * 16 * 27


@pytest.mark.parametrize("decoder", ["deconv", "trilinear", "nearest"])
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_maps_have_the_documented_shapes(decoder, channels, classes):
    output = VNet(channels, classes, decoder=decoder)(torch.randn(2, channels, 32, 16, 48))
    assert output.logits.shape == (2, classes, 32, 16, 48)
    sizes = [(2, 16 * 2**i, 32 // 2**i, 16 // 2**i, 48 // 2**i) for i in range(5)]
    assert [tuple(x.shape) for x in output.encoder] == sizes
    assert [tuple(x.shape) for x in output.decoder] == sizes[-2::-1]


def test_width_scales_all_maps():
    output = VNet(1, 2, width=32)(torch.randn(2, 1, 16, 16, 32))
    assert [x.shape[1] for x in output.encoder] == [32, 64, 128, 256, 512]


def test_dropout_acts_on_whole_channels_of_x5_and_x9_only():
    torch.manual_seed(0)
    output = VNet(1, 2)(torch.randn(2, 1, 32, 32, 32))
    dead = [(x.flatten(2).abs().amax(2) == 0).float().mean().item() for x in output.encoder + output.decoder]
    assert 0.4 < dead[4] < 0.6
    assert 0.2 < dead[8] < 0.8
    assert max(dead[:4] + dead[5:8]) == 0


def test_logits_come_from_the_map_after_dropout():
    network = VNet(1, 3)
    output = network(torch.randn(2, 1, 16, 16, 32))
    torch.testing.assert_close(output.logits, network.decoder.out(output.decoder[-1]))


def test_without_dropout_training_has_no_randomness():
    network = VNet(1, 2, dropout=0.0)
    image = torch.randn(2, 1, 16, 16, 32)
    assert torch.equal(network(image).logits, network(image).logits)
    assert not any(isinstance(module, nn.Dropout3d) for module in network.modules())


def test_skip_connections_are_additions():
    network = VNet(1, 2, dropout=0.0).eval()
    encoder = list(network.encoder(torch.randn(1, 1, 16, 16, 16)))
    logits, maps = network.decoder(encoder)
    up = network.decoder.ups[0](encoder[4])
    torch.testing.assert_close(maps[0], network.decoder.stages[0](up + encoder[3]))
    without = network.decoder([torch.zeros_like(encoder[0]), *encoder[1:]])[0]
    assert not torch.allclose(logits, without)


def test_mid_sees_x4_before_the_skip_and_the_next_downsampling():
    seen = []

    def erase(features):
        seen.append(features)
        return torch.zeros_like(features)

    network = VNet(1, 2, dropout=0.0, mid=erase).eval()
    plain = copy.deepcopy(network)
    plain.encoder.mid = None
    image = torch.randn(1, 1, 16, 16, 16)
    changed, unchanged = network(image), plain(image)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], unchanged.encoder[3])
    assert changed.encoder[3].abs().max() == 0
    expected = plain.encoder.stages[3](plain.encoder.downs[3](torch.zeros_like(seen[0])))
    torch.testing.assert_close(changed.encoder[4], expected)
    torch.testing.assert_close(changed.logits, plain.decoder(changed.encoder)[0])


def test_a_module_as_mid_is_trained_with_the_network():
    network = VNet(1, 2, mid=nn.Conv3d(128, 128, 1))
    assert parameters(network) == 9_448_866 + 128 * 128 + 128
    network(torch.randn(2, 1, 16, 16, 32)).logits.sum().backward()
    assert network.encoder.mid.weight.grad.abs().sum() > 0


def test_kaiming_changes_the_spread_of_the_weights_and_default_does_not():
    torch.manual_seed(0)
    kaiming, default = VNet(1, 2, init="kaiming"), VNet(1, 2)
    fan_in = 256 * 27
    assert kaiming.encoder.stages[3][0][0].weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
    assert default.encoder.stages[3][0][0].weight.std().item() == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.02)


def test_the_trilinear_decoder_aligns_corners():
    upsample = VNetDecoder(2, upsampling="trilinear").ups[0][0]
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert upsample(ramp).flatten(2)[0, 0, ::4].tolist() == pytest.approx([3 * i / 7 for i in range(8)])


def test_logits_are_float32_under_autocast_and_the_memory_format_is_kept():
    network = VNet(1, 2, decoder="trilinear").to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 1, 32, 32, 16).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image)
    output.logits.sum().backward()
    assert output.logits.dtype == torch.float32
    assert output.encoder[0].dtype == torch.bfloat16
    maps = output.encoder[:4] + output.decoder
    assert all(x.is_contiguous(memory_format=torch.channels_last_3d) for x in maps)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_two_decoders_can_share_an_encoder():
    encoder = VNetEncoder(1)
    maps = encoder(torch.randn(2, 1, 16, 16, 32))
    for upsampling in ("deconv", "nearest"):
        assert VNetDecoder(4, upsampling=upsampling)(maps)[0].shape == (2, 4, 16, 16, 32)
