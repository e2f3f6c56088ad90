from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semivox.components.normalization import evaluation_pass, frozen_statistics


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1)))
    with torch.no_grad():
        network[1].running_mean += 0.5
        network[1].running_var *= 3.0
    return network.train()


def buffers_and_modes(network: nn.Module) -> tuple[list[torch.Tensor], list[bool]]:
    return [buffer.clone() for buffer in network.buffers()], [module.training for module in network.modules()]


def test_frozen_statistics_changes_neither_buffers_nor_modes(network: nn.Module) -> None:
    buffers, modes = buffers_and_modes(network)
    frozen_statistics(network, torch.randn(3, 1, 6, 6))
    after, modes_after = buffers_and_modes(network)
    assert all(torch.equal(a, b) for a, b in zip(buffers, after, strict=True))
    assert modes_after == modes


def test_frozen_statistics_gives_what_the_training_mode_gives(network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6)
    assert torch.equal(frozen_statistics(network, image), copy.deepcopy(network)(image))


def test_gradients_reach_parameters_and_input(network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6, requires_grad=True)
    weight = torch.randn(3, 2, 4, 4)
    (frozen_statistics(network, image) * weight).sum().backward()
    assert image.grad.abs().sum() > 0
    reference = copy.deepcopy(network)
    reference.zero_grad()
    (reference(image.detach()) * weight).sum().backward()
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_a_following_ordinary_call_updates_as_always(network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6)
    twin = copy.deepcopy(network)
    frozen_statistics(network, torch.randn(3, 1, 6, 6))
    network(image)
    twin(image)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), twin.buffers(), strict=True))


def test_evaluation_pass_is_that_of_the_deployed_network_and_leaves_no_trace(network: nn.Module) -> None:
    network.append(nn.Dropout(0.5))
    network[0].eval()  # a mixture of modes comes back as it was
    image = torch.randn(3, 1, 6, 6)
    expected = copy.deepcopy(network).eval()(image)
    buffers, modes = buffers_and_modes(network)
    found = evaluation_pass(network, image)
    after, modes_after = buffers_and_modes(network)
    assert all(torch.equal(a, b) for a, b in zip(buffers, after, strict=True))
    assert modes_after == modes
    assert not torch.equal(found, network(image))
    assert torch.equal(found, expected)


def test_evaluation_pass_restores_the_modes_after_an_error(network: nn.Module) -> None:
    _, modes = buffers_and_modes(network)
    with pytest.raises(RuntimeError):
        evaluation_pass(network, torch.randn(3, 7, 6, 6))
    assert [module.training for module in network.modules()] == modes
