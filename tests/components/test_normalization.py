from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semivox.components.normalization import frozen_statistics, running_statistics


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


@pytest.mark.parametrize("helper", [frozen_statistics, running_statistics])
def test_helper_changes_neither_buffers_nor_modes(helper, network: nn.Module) -> None:
    buffers, modes = buffers_and_modes(network)
    helper(network, torch.randn(3, 1, 6, 6))
    after, modes_after = buffers_and_modes(network)
    assert all(torch.equal(a, b) for a, b in zip(buffers, after, strict=True))
    assert modes_after == modes


def test_frozen_statistics_gives_what_the_training_mode_gives(network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6)
    assert torch.equal(frozen_statistics(network, image), copy.deepcopy(network)(image))


def test_running_statistics_gives_what_the_evaluation_mode_gives(network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6)
    assert torch.equal(running_statistics(network, image), copy.deepcopy(network).eval()(image))


def test_running_statistics_takes_a_single_value_per_channel() -> None:
    head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).train()
    assert running_statistics(head, torch.randn(1, 4)).shape == (1, 2)


def test_running_statistics_keeps_dropout_active() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    ones = torch.ones(64, 4)
    zeros = (running_statistics(network, ones) == 0).float().mean()
    assert 0.3 < zeros < 0.7


@pytest.mark.parametrize("helper", [frozen_statistics, running_statistics])
def test_gradients_reach_parameters_and_input(helper, network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6, requires_grad=True)
    weight = torch.randn(3, 2, 4, 4)
    (helper(network, image) * weight).sum().backward()
    assert image.grad.abs().sum() > 0
    reference = copy.deepcopy(network)
    if helper is running_statistics:
        reference.eval()
    reference.zero_grad()
    (reference(image.detach()) * weight).sum().backward()
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("helper", [frozen_statistics, running_statistics])
def test_a_following_ordinary_call_updates_as_always(helper, network: nn.Module) -> None:
    image = torch.randn(3, 1, 6, 6)
    twin = copy.deepcopy(network)
    helper(network, torch.randn(3, 1, 6, 6))
    network(image)
    twin(image)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), twin.buffers(), strict=True))


def test_layers_without_running_statistics_behave_as_always() -> None:
    network = nn.InstanceNorm2d(3, affine=True).train()
    image = torch.randn(2, 3, 5, 5)
    assert torch.equal(running_statistics(network, image), network(image))
