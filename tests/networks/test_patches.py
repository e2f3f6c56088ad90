"""Which patch sizes are refused, and what is proposed instead."""

from __future__ import annotations

import pytest

from semivox.errors import UsageError
from semivox.networks import NETWORKS, check_patch_size, required_multiple


@pytest.mark.parametrize(
    ("name", "patch_size"),
    [
        ("vnet", (112, 112, 80)),
        ("vnet", (64, 64, 32)),
        ("vnet", (16, 16, 16)),
        ("unet3d", (32, 16, 16)),
        ("unet2d", (256, 256, 1)),
        ("unet2d", (16, 16, 1)),
        ("unet2d", (256, 240)),
        ("monai:SegResNet", (24, 24, 8)),
        ("monai:UNet", (64, 32, 1)),
        ("monai:HighResNet", (17, 19, 5)),
    ],
)
def test_legal_patches_pass(name, patch_size):
    check_patch_size(name, patch_size)


@pytest.mark.parametrize(
    ("name", "patch_size", "nearest"),
    [
        ("vnet", (110, 112, 79), (112, 112, 80)),
        ("vnet", (7, 24, 23), (16, 32, 16)),
        ("vnet", (0, -5, 16), (16, 16, 16)),
        ("unet3d", (16, 16, 16), (32, 32, 32)),
        ("unet2d", (250, 256, 3), (256, 256, 1)),
        ("monai:UNet", (100, 96, 1), (96, 96, 1)),
        ("monai:UNet", (16, 16, 1), (32, 32, 1)),
        ("monai:SwinUNETR", (96, 80, 80), (96, 96, 96)),
    ],
)
def test_other_patches_are_refused_with_the_nearest_legal_one(name, patch_size, nearest):
    with pytest.raises(UsageError) as error:
        check_patch_size(name, patch_size)
    assert error.value.code == "C2"
    assert error.value.fix == f"nearest: {nearest}"
    assert str(patch_size) in error.value.problem
    check_patch_size(name, nearest)


@pytest.mark.parametrize("name", NETWORKS)
def test_our_networks_halve_four_times(name):
    assert required_multiple(name) == 16


@pytest.mark.parametrize(
    ("name", "options", "multiple"),
    [
        ("monai:DynUNet", {}, 16),
        ("monai:DynUNet", {"strides": [1, 2, 2]}, 4),
        ("monai:DynUNet", {"strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]]}, 4),
        ("monai:SegResNet", {"blocks_down": [1, 2, 2]}, 4),
        ("monai:SegResNet", {}, 8),
        ("monai:SwinUNETR", None, 32),
    ],
)
def test_options_of_a_monai_network_decide_its_multiple(name, options, multiple):
    assert required_multiple(name, options) == multiple


@pytest.mark.parametrize("strides", [3, "22", [], ["a"], [2, 0], [[2, 2], []], [2.5], None])
def test_nonsensical_strides_are_refused(strides):
    with pytest.raises(UsageError) as error:
        required_multiple("monai:UNet", {"strides": strides})
    assert error.value.subject == "network.options.strides"


@pytest.mark.parametrize(
    ("name", "near"), [("vnt", "vnet"), ("monai:DynUnet", "DynUNet"), ("monai:segresnet", "SegResNet")]
)
def test_an_unknown_network_is_refused_with_the_nearest_name(name, near):
    for check in (required_multiple, lambda n: check_patch_size(n, (16, 16, 16))):
        with pytest.raises(UsageError, match=f"did you mean '{near}'") as error:
            check(name)
        assert error.value.exit_code == 2
