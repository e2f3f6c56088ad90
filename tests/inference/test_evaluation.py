"""A network with joined layers computes the same, and is afterwards what it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from semivox.inference import evaluation
from semivox.inference.evaluation import ActivatedConvolution, evaluating, joined_activation_works
from semivox.networks.unet2d import UNet2d
from semivox.networks.vnet import VNet


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch normalizations as after training: far from the identity."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.track_running_stats:
            for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.2, 3),
                                      (module.weight.data, -1, 2), (module.bias.data, -1, 1)):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return network


def answer(network: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        output = network(image)
    return output if isinstance(output, Tensor) else output.logits


@pytest.mark.parametrize(("network", "sides"), [
    pytest.param(lambda: VNet(2, 3, width=4), (16, 32, 16), id="vnet"),
    pytest.param(lambda: VNet(2, 3, width=4, decoder="trilinear"), (16, 16, 16), id="vnet trilinear"),
    pytest.param(lambda: UNet2d(2, 3, width=4), (32, 16), id="unet2d"),
])
@pytest.mark.parametrize("fused", [True, False])
def test_the_joined_network_is_the_same_function(network, sides, fused, monkeypatch):
    monkeypatch.setattr(evaluation, "joined_activation_works", lambda: fused)
    torch.manual_seed(0)
    model, image = with_statistics(network()), torch.randn(2, 2, *sides)
    expected = answer(copy.deepcopy(model).eval(), image)
    layers = []
    with evaluating(model, precision="fp32", device="cpu"):
        layers = list(model.modules())
        torch.testing.assert_close(answer(model, image), expected, rtol=1e-4, atol=1e-4)
    assert any(isinstance(layer, ActivatedConvolution) for layer in layers) == fused
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) for layer in layers)


def test_bf16_joined_is_as_near_to_fp32_as_bf16_is():
    torch.manual_seed(0)
    model, image = with_statistics(VNet(1, 2, width=16)).eval(), torch.randn(1, 1, 32, 32, 16)
    exact = answer(model, image)
    with torch.autocast("cpu", torch.bfloat16):
        plain = answer(model, image)
        with evaluating(model, precision="bf16", device="cpu"):
            joined = answer(model, image)
    assert 0 < (joined - exact).abs().mean() < 1.5 * (plain - exact).abs().mean()


def test_modules_modes_and_tensors_are_restored_also_after_a_failure():
    model = with_statistics(VNet(1, 2, width=4)).train()
    before, values = list(model.named_modules()), copy.deepcopy(model.state_dict())

    def fail() -> None:
        with evaluating(model, precision="fp32", device="cpu"):
            assert not model.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    after = list(model.named_modules())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(one is other and one.training for (_, one), (_, other) in zip(before, after, strict=True))
    assert all(torch.equal(values[name], value) for name, value in model.state_dict().items())


class Doubled(nn.Conv3d):
    """A convolution that is more than its weights."""

    def forward(self, image: Tensor) -> Tensor:
        return 2 * super().forward(image)


class Looking(nn.Sequential):
    """A row whose user reads between its modules."""

    def forward(self, image: Tensor) -> Tensor:
        between = self[0](image)
        return self[2](self[1](between)) + between


@pytest.mark.parametrize("row", [
    pytest.param(lambda: nn.Sequential(Doubled(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), id="subclass"),
    pytest.param(lambda: Looking(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), id="row with a forward"),
    pytest.param(lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4, track_running_stats=False)),
                 id="statistics of the input"),
    pytest.param(lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4), nn.ReLU()), id="instance norm"),
    pytest.param(lambda: nn.Sequential(nn.Conv3d(2, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm3d(4)),
                 id="reflected borders"),
    pytest.param(lambda: nn.Sequential(nn.ConvTranspose3d(2, 4, 2, groups=2), nn.BatchNorm3d(4)), id="groups"),
    pytest.param(lambda: nn.Sequential(nn.BatchNorm3d(2), nn.Conv3d(2, 4, 3)), id="other order"),
])
def test_what_cannot_be_joined_is_left_alone(row):
    model = with_statistics(row())
    kinds = [type(module) for module in model.modules()]
    expected = answer(copy.deepcopy(model).eval(), image := torch.randn(1, 2, 6, 6, 6))
    with evaluating(model, precision="fp32", device="cpu"):
        assert [type(module) for module in model.modules()] == kinds
        assert torch.equal(answer(model, image), expected)


def test_a_watched_layer_is_still_called():
    model, seen = nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    with evaluating(model, precision="fp32", device="cpu"):
        answer(model, torch.randn(1, 2, 4, 4, 4))
    assert seen == [1]


def test_one_convolution_with_two_normalizations_keeps_both():
    convolution = nn.Conv3d(2, 4, 3)
    model = with_statistics(nn.ModuleList(nn.Sequential(convolution, nn.BatchNorm3d(4)) for _ in range(2))).eval()
    image = torch.randn(1, 2, 5, 5, 5)
    expected = [answer(row, image) for row in model]
    with evaluating(model, precision="fp32", device="cpu"):
        for row, wanted in zip(model, expected, strict=True):
            torch.testing.assert_close(answer(row, image), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(*expected)


def test_without_onednns_operator_activations_stay_apart(monkeypatch):
    def missing(*_: object) -> Tensor:
        raise NotImplementedError

    monkeypatch.setattr(ActivatedConvolution, "forward", missing)
    assert joined_activation_works.__wrapped__() is False
