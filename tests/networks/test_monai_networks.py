"""MONAI's networks by name."""

from __future__ import annotations

import importlib.util
import inspect

import pytest
import torch
from torch import nn

from semivox.errors import ResourceError, UsageError
from semivox.networks import monai_networks, network_factory, required_multiple
from semivox.networks.monai_networks import LogitsOnly
from semivox.networks.table import MONAI_MULTIPLES
from semivox.types import Task

pytest.importorskip("monai", reason="MONAI is not installed")

SMALL = {
    "AttentionUnet": {},
    "BasicUNet": {},
    "BasicUNetPlusPlus": {"features": [8, 8, 16, 16, 32, 8]},
    "DynUNet": {"filters": [8, 16, 16, 32, 32]},
    "HighResNet": {},
    "MedNeXt": {"init_filters": 8, "kernel_size": 3},
    "SegResNet": {},
    "UNet": {},
}
VOLUMES = Task(3, 2, 3, 8)


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_a_monai_network_trains_on_the_smallest_patch_that_is_said_to_fit(name, dimensions):
    multiple = required_multiple(f"monai:{name}")
    space = (2 * multiple, *(multiple,) * (dimensions - 1)) if multiple > 1 else (8,) * dimensions
    task = Task(dimensions, 2, 3, 8)
    network = network_factory(f"monai:{name}", task=task, options=SMALL[name])()
    output = network(torch.randn(2, 2, *space))
    assert output.logits.shape == (2, 3, *space)
    assert output.encoder == output.decoder == ()
    output.logits.sum().backward()
    assert any(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", MONAI_MULTIPLES)
def test_each_listed_class_exists_and_takes_dimensions_and_channels(name):
    from monai.networks import nets

    keywords = inspect.signature(getattr(nets, name)).parameters
    assert {"in_channels", "out_channels", "spatial_dims"} <= set(keywords)


@pytest.mark.parametrize(
    ("name", "options", "training_shape"),
    [
        (
            "DynUNet",
            {"deep_supervision": True, "deep_supr_num": 2, "filters": [8, 16, 16, 16, 16]},
            (2, 3, 3, 32, 32, 16),
        ),
        ("SegResNetDS", {"dsdepth": 3, "init_filters": 8}, 3),
        ("BasicUNetPlusPlus", {"deep_supervision": True, "features": [8, 8, 8, 8, 8, 8]}, 4),
    ],
)
def test_deep_supervision_leaves_the_logits_of_full_resolution(name, options, training_shape):
    network = network_factory(f"monai:{name}", task=VOLUMES, options=options)()
    image = torch.randn(2, 2, 32, 32, 16)
    raw = network.network(image)
    assert (tuple(raw.shape) if isinstance(raw, torch.Tensor) else len(raw)) == training_shape
    main = raw[:, 0] if isinstance(raw, torch.Tensor) else raw[-1 if name == "BasicUNetPlusPlus" else 0]
    torch.testing.assert_close(network(image).logits, main)
    assert network.eval()(image).logits.shape == (2, 3, 32, 32, 16)


def test_logits_are_float32_under_autocast():
    network = network_factory("monai:UNet", task=VOLUMES)().to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 2, 32, 16, 16)).logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        ("DynUNet", {"strides": [1, 2, 2]}, 3),
        ("UNet", {"strides": [2, 2]}, 3),
        ("AttentionUnet", {"strides": [2, 2]}, 3),
    ],
)
def test_as_many_levels_are_generated_as_the_strides_say(name, options, levels):
    network = network_factory(f"monai:{name}", task=VOLUMES, width=8, options=options)()
    assert network(torch.randn(2, 2, 4, 4, 8)).logits.shape == (2, 3, 4, 4, 8)
    widest = max(m.out_channels for m in network.modules() if isinstance(m, nn.Conv3d))
    assert widest == 8 * 2 ** (levels - 1)


@pytest.mark.parametrize("name", ["DynUNet", "UNet", "AttentionUnet", "BasicUNet", "SegResNet", "MedNeXt"])
def test_width_changes_the_size_of_the_network(name):
    narrow, wide = (network_factory(f"monai:{name}", task=VOLUMES, width=w) for w in (8, 16))
    assert 2.5 * parameters(narrow()) < parameters(wide())


@pytest.mark.parametrize("name", ["DynUNet", "UNet", "BasicUNet", "SegResNet"])
def test_dropout_makes_training_random_and_zero_switches_it_off(name):
    image = torch.randn(1, 2, 32, 16, 16)
    for dropout, equal in ((0.0, True), (0.5, False)):
        network = network_factory(f"monai:{name}", task=VOLUMES, dropout=dropout)()
        assert torch.equal(network(image).logits, network(image).logits) is equal


def test_kaiming_initializes_a_monai_network():
    torch.manual_seed(0)
    plain, kaiming = (network_factory("monai:SegResNet", task=VOLUMES, init=i)() for i in ("default", "kaiming"))
    spreads = [max(m.weight.std() for m in n.modules() if isinstance(m, nn.Conv3d)) for n in (plain, kaiming)]
    assert spreads[1] > 1.5 * spreads[0]


@pytest.mark.parametrize(
    ("name", "settings", "subject", "words"),
    [
        ("DynUNt", {}, "network.name", "did you mean 'DynUNet'"),
        ("DynUNet", {"options": {"stride": [1, 2]}}, "network.options.stride", "did you mean 'strides'"),
        ("DynUNet", {"decoder": "deconv"}, "network.decoder", "has no setting 'decoder'"),
        ("HighResNet", {"width": 8}, "network.width", "has no setting 'width'"),
        ("UNet", {"options": {"out_channels": 9}}, "network.options.out_channels", "the data decide it"),
        ("UNet", {"options": {"strides": 2}}, "network.options.strides", "one for each resolution"),
        ("FlexibleUNet", {}, "network.options.backbone", "needs a value and has no default"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_network_is_built(name, settings, subject, words):
    with pytest.raises(UsageError, match=words) as error:
        network_factory(f"monai:{name}", task=VOLUMES, **settings)
    assert error.value.subject == subject


@pytest.mark.parametrize("options", [{"channels": [2]}, {"act": "nothing"}, {"kernel_size": "three"}])
def test_what_monai_refuses_is_one_line(options):
    make_network = network_factory("monai:UNet", task=VOLUMES, options=options)
    with pytest.raises(UsageError) as error:
        make_network()
    assert error.value.subject == "network.options"
    assert "\n" not in str(error.value)


def test_overrides_of_feature_level_methods_are_refused():
    make_network = network_factory("monai:UNet", task=VOLUMES)
    with pytest.raises(UsageError, match="has no setting 'mid'"):
        make_network(mid=nn.Identity())
    assert make_network(classes=7)(torch.randn(2, 2, 32, 16, 16)).logits.shape[1] == 7


def test_the_image_size_comes_from_the_patch(monkeypatch):
    monkeypatch.setattr(monai_networks, "_ALSO_NEEDS", {})
    with pytest.raises(UsageError, match="needs a value") as error:
        network_factory("monai:UNETR", task=VOLUMES)
    assert error.value.subject == "network.options.img_size"
    assert callable(network_factory("monai:UNETR", task=VOLUMES, patch_size=(32, 32, 16)))


def test_a_missing_package_is_named(monkeypatch):
    installed = importlib.util.find_spec
    monkeypatch.setattr(monai_networks, "find_spec", lambda name: None if name == "monai" else installed(name))
    with pytest.raises(ResourceError, match="pip install monai") as error:
        network_factory("monai:UNet", task=VOLUMES)
    assert error.value.exit_code == 5


def test_a_network_without_fitting_logits_is_refused():
    class Classifier(nn.Module):
        def forward(self, image):
            return image.mean(dim=(2, 3, 4)), None

    with pytest.raises(UsageError, match=r"returned \(2, 1\), expected \(2, 3, 8, 8, 8\)"):
        LogitsOnly(Classifier(), 3)(torch.randn(2, 1, 8, 8, 8))
