"""The interaction module against the plain chain of layers that its equations name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from semivox.components.prototypes import DynamicInteraction, InteractionProbabilities, PrototypeNetwork, attend
from semivox.networks import network_factory
from semivox.types import Task

SPACES = {2: (4, 6), 3: (4, 2, 6)}


def _module(dimensions=3, classes=3, **settings):
    torch.manual_seed(0)
    return DynamicInteraction((8, 6), classes=classes, dimensions=dimensions, prototypes=5, **settings)


def _maps(dimensions=3, samples=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    space = SPACES[dimensions]
    coarse = torch.randn(samples, 8, *space, generator=generator)
    fine = torch.randn(samples, 6, *(2 * side for side in space), generator=generator)
    return coarse, fine, torch.Size(4 * side for side in space)


def _plain(module, coarse, fine, size):
    """Eq. 3-6, one step after the other, sample by sample and class by class."""
    convolve = functional.conv3d if coarse.dim() == 5 else functional.conv2d
    maps = []
    for f2, f3 in zip(coarse, fine, strict=True):
        r2, r3 = module.reduce_coarse(f2.flatten(1).T), module.reduce_fine(f3.flatten(1).T)
        logits = []
        for prototypes in module.prototypes:
            scores = module.query(prototypes) @ module.key(r2).T / math.sqrt(8)
            answer = scores.softmax(1) @ module.value(r2) + (prototypes if module.residual else 0)
            second = module.query_fine(answer) @ module.key_fine(r3).T / math.sqrt(6)
            volumes = second.view(1, -1, *f3.shape[1:])
            volumes = convolve(volumes, module.spatial.weight, module.spatial.bias, padding=1)
            logits.append(convolve(volumes, module.merge.weight, module.merge.bias)[0, 0])
        maps.append(torch.stack(logits))
    mode = "trilinear" if coarse.dim() == 5 else "bilinear"
    return functional.interpolate(torch.stack(maps), size=size, mode=mode)


def test_attention_equals_its_equation():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(*shape, generator=generator) for shape in [(3, 4), (2, 7, 4), (2, 7, 5)])
    expected = np.zeros((2, 3, 5))
    for b in range(2):
        for q in range(3):
            weights = np.array([math.exp(float(query[q] @ key[b, n]) / 2) for n in range(7)])
            expected[b, q] = (weights / weights.sum()) @ value[b].numpy()
    assert np.allclose(attend(query, key, value).numpy(), expected, atol=1e-5)


def test_rows_of_the_attention_sum_to_one_over_positions():
    query, key = torch.randn(3, 4), torch.randn(2, 50, 4)
    assert torch.allclose(attend(query, key, torch.ones(2, 50, 1)), torch.ones(2, 3, 1), atol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_map_and_gradients_equal_the_plain_chain_of_layers(dimensions, residual):
    module = _module(dimensions, residual=residual).double()
    coarse, fine, size = _maps(dimensions)
    found = []
    for compute in (module, lambda *inputs: _plain(module, *inputs)):
        inputs = [each.double().requires_grad_() for each in (coarse, fine)]
        module.zero_grad()
        logits = compute(*inputs, size)
        logits.square().sum().backward()
        found.append([logits, *(each.grad for each in inputs), *(each.grad for each in module.parameters())])
    assert found[0][0].shape == (2, 3, *size)
    for mine, plain in zip(*found, strict=True):
        assert torch.allclose(mine, plain, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_map_is_computed_in_float32_under_autocast_whatever_the_layout(layout):
    module = _module()
    coarse, fine, size = _maps()
    expected = module(coarse.bfloat16().float(), fine.bfloat16().float(), size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = (each.bfloat16().to(memory_format=layout) for each in (coarse, fine))
        found = module(*maps, size)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)


def test_order_of_the_prototypes_does_not_matter_if_the_convolution_follows():
    module, inputs = _module(), _maps()
    before = module(*inputs)
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.no_grad():
        module.prototypes.copy_(module.prototypes[:, order])
        module.spatial.weight.copy_(module.spatial.weight[:, order])
    assert torch.allclose(module(*inputs), before, atol=1e-5)


def test_order_of_the_classes_is_the_order_of_the_channels():
    module, inputs = _module(), _maps()
    before = module(*inputs)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        module.prototypes.copy_(module.prototypes[order])
    assert torch.allclose(module(*inputs), before[:, order], atol=1e-5)


def test_map_of_a_sample_depends_on_its_own_features_alone():
    module, (coarse, fine, size) = _module(), _maps()
    other_coarse, other_fine, _ = _maps(seed=1)
    mixed = module(torch.stack((coarse[0], other_coarse[1])), torch.stack((fine[0], other_fine[1])), size)
    assert torch.allclose(mixed[0], module(coarse, fine, size)[0], atol=1e-6)
    assert not torch.allclose(mixed[1], module(coarse, fine, size)[1], atol=1e-3)


def test_published_sizes():
    module = DynamicInteraction((64, 32), classes=2, dimensions=3)
    assert module.prototypes.numel() == 2048
    others = sum(parameter.numel() for parameter in module.parameters()) - 2048
    assert others == 27_777


def test_prototypes_start_with_the_given_spread():
    torch.manual_seed(0)
    narrow, wide = (DynamicInteraction((64, 32), classes=4, dimensions=3, std=std) for std in (0.02, 1.0))
    assert narrow.prototypes.std().item() == pytest.approx(0.02, rel=0.05)
    assert wide.prototypes.std().item() == pytest.approx(1.0, rel=0.05)


def test_network_gives_the_map_of_the_first_samples_or_of_all():
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=1)
    torch.manual_seed(0)
    module = DynamicInteraction((16, 8), classes=2, dimensions=3)
    network = PrototypeNetwork(network_factory("vnet", task=task, width=4)(), module).eval()
    image = torch.randn(3, 1, 16, 16, 16)
    output, opinion = network(image)
    assert output.logits.shape == opinion.shape == (3, 2, 16, 16, 16)
    assert torch.allclose(network(image, 2)[1], opinion[:2], atol=1e-5)
    probabilities = InteractionProbabilities(network)(image)
    assert torch.allclose(probabilities, opinion.softmax(1))
    bare = PrototypeNetwork(network.network, None)
    assert bare(image)[1] is None
    assert bare.prototypes is None
    assert network.prototypes is module.prototypes
