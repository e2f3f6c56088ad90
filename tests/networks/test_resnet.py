"""The ResNet34 networks: parameters, shapes, where their switches act."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semivox.networks.resnet import BasicBlock, ResNet34Encoder, ResNetUNet2d, ResNetVNet
from semivox.networks.unet2d import UNet2d, UNet2dDecoder
from semivox.networks.vnet import VNet

both = pytest.mark.parametrize(("kind", "sibling", "space"), [
    (ResNetVNet, VNet, (32, 16, 48)),
    (ResNetUNet2d, UNet2d, (32, 48)),
])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_has_the_published_number_of_parameters():
    network = ResNetVNet(1, 2)
    assert parameters(network.encoder) == 15_858_384
    assert parameters(network) == 17_930_354
    assert parameters(network) + parameters(VNet(1, 2)) == 27_379_220


def test_2d_sibling_is_the_2d_encoder_and_the_decoder_of_the_u_net():
    assert parameters(ResNetUNet2d(1, 4)) == parameters(ResNet34Encoder(1, dimensions=2)) + 633_300
    assert parameters(ResNetUNet2d(1, 4).decoder) == parameters(UNet2dDecoder(4))


@both
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_maps_have_the_shapes_and_the_widths_of_the_sibling(kind, sibling, space, channels, classes):
    image = torch.randn(2, channels, *space)
    network = kind(channels, classes, width=8)
    output, expected = network(image), sibling(channels, classes, width=8)(image)
    assert output.logits.shape == (2, classes, *space)
    assert [x.shape for x in output.encoder] == [x.shape for x in expected.encoder]
    assert [x.shape for x in output.decoder] == [x.shape for x in expected.decoder]
    assert network.encoder_widths == tuple(x.shape[1] for x in output.encoder)
    assert network.decoder_widths == tuple(x.shape[1] for x in output.decoder)


def test_encoder_has_34_layers_of_which_one_is_the_missing_classifier():
    convolutions = [m for m in ResNet34Encoder(1).modules() if isinstance(m, nn.Conv3d)]
    kernels = [m.kernel_size[0] for m in convolutions]
    assert sorted(set(kernels)) == [1, 3, 7]
    assert kernels.count(7) + kernels.count(3) == 33
    assert kernels.count(1) == 4  # one projection a stage
    assert all(m.bias is None for m in convolutions)


def test_block_adds_its_input_or_a_projection_of_it():
    torch.manual_seed(0)
    image = torch.randn(2, 4, 8, 8)
    plain, halving = BasicBlock(4, 4, 2).eval(), BasicBlock(4, 6, 2, stride=2).eval()
    for block in (plain, halving):
        nn.init.zeros_(block.residual[2][1].weight)
        nn.init.zeros_(block.residual[2][1].bias)
    torch.testing.assert_close(plain(image), image.relu())
    torch.testing.assert_close(halving(image), halving.shortcut(image).relu())
    assert halving(image).shape == (2, 6, 4, 4)


def test_3d_dropout_acts_on_whole_channels_of_x9_only():
    torch.manual_seed(0)
    output = ResNetVNet(1, 2)(torch.randn(2, 1, 32, 32, 16))
    dead = [(x.flatten(2).abs().amax(2) == 0).float().mean().item() for x in output.encoder + output.decoder]
    assert 0.2 < dead[8] < 0.8
    assert max(dead[:8]) == 0


def test_2d_dropout_acts_on_single_elements_of_x5_only():
    torch.manual_seed(0)
    with_dropout, without = ResNetUNet2d(1, 2), ResNetUNet2d(1, 2, dropout=0.0)
    without.load_state_dict(with_dropout.state_dict())
    image = torch.randn(2, 1, 64, 64)
    dropped, kept = with_dropout(image), without(image)
    for level in range(4):
        torch.testing.assert_close(dropped.encoder[level], kept.encoder[level])
    mine, other = dropped.encoder[4], kept.encoder[4]
    assert (mine[other > 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(mine[mine > 0], other[mine > 0] / 0.5)


@both
def test_without_dropout_training_has_no_randomness(kind, sibling, space):
    network = kind(1, 2, width=4, dropout=0.0)
    image = torch.randn(2, 1, *space)
    assert torch.equal(network(image).logits, network(image).logits)


@pytest.mark.parametrize(("kind", "decoder", "layer"), [
    (ResNetVNet, "trilinear", nn.Upsample),
    (ResNetVNet, "deconv", nn.ConvTranspose3d),
    (ResNetUNet2d, "bilinear", nn.Upsample),
    (ResNetUNet2d, "deconv", nn.ConvTranspose2d),
])
def test_decoder_decides_the_upsampling(kind, decoder, layer):
    network = kind(1, 2, width=4, decoder=decoder)
    assert sum(isinstance(m, layer) for m in network.modules()) == 4


def test_weights_are_kaiming_by_default_and_normalization_starts_at_one():
    torch.manual_seed(0)
    network, plain = ResNetVNet(1, 2), ResNetVNet(1, 2, init="default")
    fan_in = 256 * 27
    deep = [each.encoder.stages[3][1].residual[0][0].weight.std().item() for each in (network, plain)]
    assert deep[0] == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
    assert deep[1] == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.02)
    scales = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    assert all(torch.equal(scale, torch.ones_like(scale)) for scale in scales)


@both
def test_mid_sees_x4_before_the_skip_and_the_last_stage(kind, sibling, space):
    seen = []

    def double(features):
        seen.append(features)
        return 2 * features

    network = kind(1, 2, width=4, dropout=0.0, mid=double).eval()
    plain = copy.deepcopy(network)
    plain.encoder.mid = None
    image = torch.randn(1, 1, *space)
    changed, unchanged = network(image), plain(image)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], unchanged.encoder[3])
    torch.testing.assert_close(changed.encoder[3], 2 * unchanged.encoder[3])
    torch.testing.assert_close(changed.encoder[4], plain.encoder.stages[3](2 * unchanged.encoder[3]))


@pytest.mark.parametrize(("kind", "space", "memory_format"), [
    (ResNetVNet, (32, 32, 16), torch.channels_last_3d),
    (ResNetUNet2d, (32, 32), torch.channels_last),
])
def test_logits_are_float32_under_autocast_and_the_memory_format_is_kept(kind, space, memory_format):
    network = kind(1, 2, width=8).to(memory_format=memory_format)
    image = torch.randn(2, 1, *space).to(memory_format=memory_format)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image)
    output.logits.sum().backward()
    assert output.logits.dtype == torch.float32
    assert output.encoder[0].dtype == torch.bfloat16
    assert all(x.is_contiguous(memory_format=memory_format) for x in output.encoder[:4] + output.decoder)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
