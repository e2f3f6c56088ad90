"""A network with joined layers computes the same, and is afterwards what it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from semivox.errors import UsageError
from semivox.inference import evaluation
from semivox.inference.evaluation import ActivatedConvolution, evaluation_twin, joined_activation_works, round_together
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
    monkeypatch.setattr(evaluation, "joined_activation_works", lambda _: fused)
    torch.manual_seed(0)
    model, image = with_statistics(network()), torch.randn(2, 2, *sides)
    expected = answer(copy.deepcopy(model).eval(), image)
    twin = evaluation_twin(model, precision="fp32", device="cpu")
    layers = list(twin.modules())
    torch.testing.assert_close(answer(twin, image), expected, rtol=1e-4, atol=1e-4)
    assert any(isinstance(layer, ActivatedConvolution) for layer in layers) == fused
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) for layer in layers)


def test_bf16_joined_is_nearer_to_fp32_than_bf16_is():
    torch.manual_seed(0)
    model, image = with_statistics(VNet(1, 2, width=16)).eval(), torch.randn(1, 1, 32, 32, 16)
    exact = answer(model, image)
    with torch.autocast("cpu", torch.bfloat16):
        plain = answer(model, image)
        joined = answer(evaluation_twin(model, precision="bf16", device="cpu"), image)
    assert 0 < (joined - exact).abs().mean() < (plain - exact).abs().mean()


def test_the_network_itself_is_not_touched_and_shares_its_weights():
    model = with_statistics(VNet(1, 2, width=4)).train()
    before, values = list(model.named_modules()), copy.deepcopy(model.state_dict())
    twins = [evaluation_twin(model, precision="fp32", device="cpu") for _ in range(2)]
    assert not any(module.training for twin in twins for module in twin.modules())
    after = list(model.named_modules())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(one is other and one.training for (_, one), (_, other) in zip(before, after, strict=True))
    assert all(torch.equal(values[name], value) for name, value in model.state_dict().items())
    assert all(twin.decoder.out.weight is model.decoder.out.weight for twin in twins)
    with pytest.raises(UsageError):
        evaluation_twin(model, precision="fp7", device="cpu")
    assert model.training


def test_a_compiled_network_has_a_twin_that_is_not_compiled():
    model, image = with_statistics(VNet(1, 2, width=4)), torch.randn(1, 1, 16, 16, 16)
    expected = answer(copy.deepcopy(model).eval(), image)
    model.compile(backend="eager")
    for _ in range(2):  # train and validate in turn
        model(torch.randn(2, 1, 16, 16, 16)).logits.sum().backward()
        statistics = {name: value.clone() for name, value in model.state_dict().items()}
        twin = evaluation_twin(model, precision="fp32", device="cpu")
        answer(twin, image)
        assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())
    assert not torch.equal(answer(twin, image), expected)


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
    twin = evaluation_twin(model, precision="fp32", device="cpu")
    assert [type(module) for module in twin.modules()] == kinds
    assert torch.equal(answer(twin, image), expected)


def test_a_watched_layer_is_still_called():
    model, seen = nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    answer(evaluation_twin(model, precision="fp32", device="cpu"), torch.randn(1, 2, 4, 4, 4))
    assert seen == [1]


def test_one_convolution_with_two_normalizations_keeps_both():
    convolution = nn.Conv3d(2, 4, 3)
    model = with_statistics(nn.ModuleList(nn.Sequential(convolution, nn.BatchNorm3d(4)) for _ in range(2))).eval()
    image = torch.randn(1, 2, 5, 5, 5)
    expected = [answer(row, image) for row in model]
    twin = evaluation_twin(model, precision="fp32", device="cpu")
    for row, wanted in zip(twin, expected, strict=True):
        torch.testing.assert_close(answer(row, image), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(*expected)


def test_without_onednns_operator_activations_stay_apart(monkeypatch):
    def missing(*_: object) -> Tensor:
        raise NotImplementedError

    monkeypatch.setattr(ActivatedConvolution, "forward", missing)
    assert joined_activation_works.__wrapped__(torch.bfloat16) is False


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_onednns_operator_works_here(dtype):
    """Else everything is slower, not wrong; torch is built with oneDNN on the machines that we test on."""
    assert joined_activation_works(dtype)


@pytest.mark.parametrize(("over_inputs", "axes"), [(False, (2, 3, 4)), (True, (0,))])
def test_weights_are_rounded_so_that_errors_cancel(over_inputs, axes):
    weight = torch.randn(24, 24, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    rounded = round_together(weight, torch.bfloat16, over_inputs=over_inputs)
    assert (rounded.shape, rounded.dtype) == (weight.shape, torch.bfloat16)
    assert ((rounded.float() - weight).abs() <= 2**-6 * weight.abs() + 2**-6).all()
    together, nearest = ((values.float() - weight).sum(axes).abs().mean() for values in (rounded, weight.bfloat16()))
    assert together < 0.4 * nearest
