"""Networks by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from semivox.errors import UsageError
from semivox.networks import NETWORKS, network_factory
from semivox.networks.table import ENTRIES
from semivox.types import Task

VOLUMES = Task(3, 2, 4, 8)
SLICES = Task(2, 2, 4, 8)


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_importing_the_table_does_not_import_torch():
    code = (
        "import sys, semivox.networks as n; n.check_patch_size('vnet', (16, 16, 16)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_takes_the_channels_and_classes_of_the_task(name):
    task = SLICES if ENTRIES[name].dimensions == 2 else VOLUMES
    space = (32, 32, 16)[: task.dimensions]
    output = network_factory(name, task=task)()(torch.randn(2, 2, *space))
    assert output.logits.shape == (2, 4, *space)
    assert len(output.encoder) == 5
    assert len(output.decoder) == 4


def test_two_networks_of_one_factory_share_nothing_and_may_differ():
    make_network = network_factory("vnet", task=Task(3, 1, 2, 8))
    first, second, third = make_network(), make_network(decoder="trilinear"), make_network()
    assert parameters(first) == 9_448_866
    assert parameters(second) == 7_376_896 + 2_898_850
    assert not {id(p) for p in first.parameters()} & {id(p) for p in third.parameters()}
    assert not torch.equal(first.decoder.out.weight, third.decoder.out.weight)


def test_settings_and_overrides_reach_the_constructor():
    make_network = network_factory("vnet", task=VOLUMES, width=32, decoder="nearest", dropout=0.0, init="kaiming")
    network = make_network()
    assert network.decoder.out.weight.shape[:2] == (4, 32)
    assert network.decoder.ups[0][0].mode == "nearest"
    assert isinstance(network.decoder.dropout, torch.nn.Identity)
    deep = network.encoder.stages[3][0][0].weight
    assert deep.std().item() == pytest.approx((2 / (512 * 27)) ** 0.5, rel=0.02)
    overridden = make_network(classes=1, dropout=0.25, mid=torch.nn.Identity(), decoder=None)
    assert overridden.decoder.out.weight.shape[0] == 1
    assert overridden.decoder.dropout.p == 0.25
    assert overridden.decoder.ups[0][0].mode == "nearest"


@pytest.mark.parametrize(
    ("name", "task", "settings", "subject", "words"),
    [
        ("vnett", VOLUMES, {}, "network.name", "did you mean 'vnet'"),
        ("unet2d", VOLUMES, {}, "network.name", "2D images, found a plan for 3D"),
        ("vnet", SLICES, {}, "network.name", "choose 'unet2d'"),
        ("vnet", VOLUMES, {"decoder": "trilinea"}, "network.decoder", "did you mean 'trilinear'"),
        ("unet3d", VOLUMES, {"decoder": "deconv"}, "network.decoder", "choose vnet"),
        ("unet2d", SLICES, {"decoder": "trilinear"}, "network.decoder", "did you mean 'bilinear'"),
        ("vnet", VOLUMES, {"init": "kaming"}, "network.init", "did you mean 'kaiming'"),
        ("vnet", VOLUMES, {"options": {"strides": [2]}}, "network.options.strides", "takes no options"),
    ],
)
def test_what_a_network_does_not_have_is_refused_before_it_is_built(name, task, settings, subject, words):
    with pytest.raises(UsageError, match=words) as error:
        network_factory(name, task=task, **settings)
    assert error.value.subject == subject


def test_overrides_that_a_network_does_not_have_are_refused():
    make_network = network_factory("unet3d", task=VOLUMES)
    with pytest.raises(UsageError, match="unet3d has no setting 'norm'"):
        make_network(norm="batch")
    with pytest.raises(UsageError, match="unet3d has no setting 'decoder', found 'trilinear'.*choose vnet"):
        make_network(decoder="trilinear")
