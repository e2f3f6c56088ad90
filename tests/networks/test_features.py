from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.errors import UsageError
from semivox.networks import network_factory
from semivox.networks.features import decoder_widths, encoder_widths
from semivox.networks.table import ENTRIES
from semivox.types import Task


def task(dimensions: int) -> Task:
    return Task(dimensions, channels=1, classes=3, labeled_cases=2)


@pytest.mark.parametrize("name", ENTRIES)
def test_widths_are_those_of_the_maps(name: str) -> None:
    dimensions = ENTRIES[name].dimensions
    network = network_factory(name, task=task(dimensions), width=4)().eval()
    with torch.no_grad():
        output = network(torch.randn(1, 1, *[32] * dimensions))
    assert encoder_widths(network, needed_by="test") == tuple(found.shape[1] for found in output.encoder)
    assert decoder_widths(network, needed_by="test") == tuple(found.shape[1] for found in output.decoder)
    assert output.decoder[-1].shape[2:] == output.logits.shape[2:]


@pytest.mark.parametrize("ask", [encoder_widths, decoder_widths])
def test_network_without_maps_gets_an_error_that_names_those_with(ask) -> None:
    with pytest.raises(UsageError) as caught:
        ask(nn.Conv3d(1, 2, 1), needed_by="caml")
    said = str(caught.value)
    assert "Conv3d does not expose" in said
    assert "caml" in said
    assert all(name in said for name in ENTRIES)


@pytest.mark.parametrize(("name", "configured", "kind"), [
    ("vnet", None, "trilinear"), ("vnet", "trilinear", "deconv"), ("unet2d", None, "deconv"), ("unet3d", None, None),
])
def test_other_decoder_is_another_kind_where_there_is_one(name: str, configured: str | None, kind: str | None) -> None:
    make_network = network_factory(name, task=task(ENTRIES[name].dimensions), width=4, decoder=configured)
    found, expected = make_network(decoder="other"), make_network(decoder=kind)
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (found, expected)]
    assert shapes[0] == shapes[1]


def test_method_may_take_another_network_with_the_settings_that_it_has() -> None:
    make_network = network_factory("vnet", task=task(3), width=4, decoder="nearest", dropout=0.5, init="kaiming")
    other = make_network(name="unet3d")
    assert type(other).__name__ == "UNet3d"
    assert other.encoder_widths[0] == 4
    with pytest.raises(UsageError, match="2D"):
        make_network(name="unet2d")


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if "mid" in entry.keywords])
def test_mid_sees_the_fourth_encoder_map_and_changes_what_follows(name: str) -> None:
    dimensions = ENTRIES[name].dimensions
    seen = []

    def mid(features: torch.Tensor) -> torch.Tensor:
        seen.append(features)
        return features * 0

    network = network_factory(name, task=task(dimensions), width=4)(mid=mid).eval()
    with torch.no_grad():
        output = network(torch.randn(1, 1, *[32] * dimensions))
    assert seen[0].shape == output.encoder[3].shape
    assert output.encoder[3].abs().sum() == 0
