"""Positive supervision against the plain form: a full map of representations, and loops over voxels."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from semivox.components import supervision
from semivox.components.supervision import PositiveSupervision, RepresentationHead, SupervisionSettings, positives

SPACES = {2: (6, 5), 3: (4, 5, 3)}
INPUTS, OUTPUTS = 4, 7


def _settings(**changed):
    settings = {"hidden": 6, "activate": True, "threshold": 0.8, "anchors": 5, "negatives": 9, "per_anchor": False,
                "temperature": 0.5, "positive": "mixed", "xi": 0.6, "xi_mode": "fixed"}
    return SupervisionSettings(**settings | changed)


def _head(dimensions=3, **settings):
    torch.manual_seed(0)
    settings = _settings(**settings)
    head = RepresentationHead(INPUTS, OUTPUTS, dimensions=dimensions, settings=settings)
    if head.norm is not None:
        with torch.no_grad():
            head.norm.weight.copy_(torch.rand(6) + 0.5)
            head.norm.bias.copy_(torch.randn(6))
    return head


def _features(dimensions=3, samples=3, layout=False):
    features = torch.randn(samples, INPUTS, *SPACES[dimensions], generator=torch.Generator().manual_seed(1))
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[dimensions]
    return features.to(memory_format=last) if layout else features


def _plain_map(head, features, *, constant_statistics):
    """(V, F): the whole head on every voxel, with autograd; statistics as constants, or not."""
    maps = head.convolution(features)
    if head.norm is not None:
        axes = [0, *range(2, maps.dim())]
        source = maps.detach() if constant_statistics else maps
        mean, variance = source.mean(axes), source.var(axes, correction=0)
        if not head.training:
            mean, variance = head.norm.running_mean, head.norm.running_var
        shape = (-1, *[1] * (maps.dim() - 2))
        normalized = (maps - mean.view(shape)) / (variance + head.norm.eps).sqrt().view(shape)
        maps = functional.relu(normalized * head.norm.weight.view(shape) + head.norm.bias.view(shape))
    return head.projection(maps.movedim(1, -1).flatten(0, -2))


@pytest.mark.parametrize("layout", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_drawn_voxels_have_the_values_and_gradients_of_the_full_map(dimensions, activate, training, layout):
    head = _head(dimensions, activate=activate).double().train(training)
    features = _features(dimensions, layout=layout).double()
    voxels = features.numel() // INPUTS
    index = torch.tensor([0, 1, voxels // 2, voxels - 1, 1])
    target = torch.randn(len(index), OUTPUTS, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for plain in (True, False):
        here = features.clone().requires_grad_()
        head.zero_grad()
        if plain:
            rows = _plain_map(head, here, constant_statistics=True)[index]
        else:
            rows = head.at(here, index, head(here.detach()))
        (rows * target).sum().backward()
        found.append([rows, here.grad, *(parameter.grad for parameter in head.parameters())])
    for mine, expected in zip(*found, strict=True):
        assert torch.allclose(mine, expected, atol=1e-10)


def test_gradient_left_out_is_that_through_the_batch_statistics_alone():
    head = _head().double().train()
    features, index = _features().double(), torch.arange(0, 100, 7)
    found = []
    for constant in (True, False):
        head.zero_grad()
        rows = _plain_map(head, features, constant_statistics=constant)[index]
        rows.square().sum().backward()
        found.append({name: parameter.grad.clone() for name, parameter in head.named_parameters()})
    sampled, full = found
    same = [name for name in full if torch.allclose(sampled[name], full[name], atol=1e-10)]
    assert set(same) == set(full) - {"convolution.weight", "convolution.bias"}
    # and it is made of the gradients of the normalization's own weight and bias
    maps = head.convolution(features).detach()
    rows = maps.movedim(1, -1).flatten(0, -2)
    mean, variance = rows.mean(0), rows.var(0, correction=0)
    normalized = (rows - mean) / (variance + head.norm.eps).sqrt()
    missing = -(full["norm.bias"] + normalized * full["norm.weight"]) / len(rows)
    missing = missing * head.norm.weight / (variance + head.norm.eps).sqrt()
    patches = supervision.neighborhoods(features, torch.arange(len(rows))).flatten(1)
    expected = (missing.T @ patches).view(6, 3, 3, 3, INPUTS).movedim(-1, 1)
    assert torch.allclose(full["convolution.weight"] - sampled["convolution.weight"], expected, atol=1e-9)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_statistics_move_as_those_of_a_plain_normalization(dimensions):
    head = _head(dimensions).train()
    norm = copy.deepcopy(head.norm)
    features = _features(dimensions)
    for _ in range(2):
        hidden = head(features)
        expected = functional.relu(norm(head.convolution(features))).movedim(1, -1).flatten(0, -2)
        assert torch.allclose(hidden.rows, expected, atol=1e-5)
    for mine, plain in zip(head.norm.buffers(), norm.buffers(), strict=True):
        assert torch.allclose(mine, plain, atol=1e-6)
    before = [buffer.clone() for buffer in head.norm.buffers()]
    head.eval()(features)
    assert all(torch.equal(mine, old) for mine, old in zip(head.norm.buffers(), before, strict=True))


@pytest.mark.parametrize(("hidden", "expected"), [(16, 8_048), (32, 16_032), (64, 32_000)])
def test_published_sizes(hidden, expected):
    head = RepresentationHead(16, 64, dimensions=3, settings=_settings(hidden=hidden))
    assert sum(parameter.numel() for parameter in head.parameters()) == expected
    bare = RepresentationHead(16, 64, dimensions=3, settings=_settings(hidden=hidden, activate=False))
    assert isinstance(head.norm, nn.BatchNorm3d)
    assert sum(parameter.numel() for parameter in bare.parameters()) == expected - 2 * hidden


def test_mean_of_a_class_before_the_last_convolution_is_that_after_it():
    head, features = _head(), _features()
    label = torch.randint(0, 3, (features.numel() // INPUTS,), generator=torch.Generator().manual_seed(0))
    trusted = torch.ones_like(label, dtype=torch.bool)
    hidden = head(features)
    members = supervision.class_members(label, trusted, classes=3)
    early = head.project(supervision.class_means(hidden.rows, members))
    late = supervision.class_means(head.project(hidden.rows), members)
    assert torch.allclose(early, late, atol=1e-5)


@pytest.mark.parametrize("xi", [0.0, 0.6, 1.0])
def test_positive_lies_between_mean_and_prototypes(xi):
    means, prototypes = torch.randn(3, 5), torch.randn(3, 4, 5, requires_grad=True)
    found = positives(means, prototypes, _settings(xi=xi))
    share = xi / (1 + xi)
    assert 0 <= share <= 0.5
    assert torch.allclose(found, (1 - share) * means + share * prototypes.mean(1), atol=1e-6)
    assert not found.requires_grad


def test_other_positives():
    means, prototypes = torch.randn(3, 5), torch.randn(3, 4, 5)
    assert torch.equal(positives(means, prototypes, _settings(positive="mean")), means)
    assert torch.equal(positives(means, prototypes, _settings(positive="proto")), prototypes.mean(1))
    assert torch.equal(positives(means, None, _settings(positive="proto")), means)


def test_uniform_xi_is_drawn_for_each_class_and_call():
    means, prototypes = torch.zeros(200, 5), torch.ones(200, 2, 5)
    settings = _settings(xi_mode="uniform")
    torch.manual_seed(0)
    found, again = positives(means, prototypes, settings), positives(means, prototypes, settings)
    shares = found[:, 0]
    assert torch.equal(found, shares.unsqueeze(1).expand(-1, 5))  # xi / (1 + xi)
    assert len(shares.unique()) > 190
    assert shares.min() >= 0
    assert shares.max() <= 0.5
    assert not torch.equal(found, again)


def _problem(classes=3, dimensions=3, seed=3):
    generator = torch.Generator().manual_seed(seed)
    features = _features(dimensions)
    space = features.shape[2:]
    probabilities = (3 * torch.randn(3, classes, *space, generator=generator)).softmax(1)
    label = torch.randint(0, classes, (3, *space), generator=generator)
    trusted = torch.rand(3, *space, generator=generator) < 0.6
    prototypes = torch.randn(classes, 4, OUTPUTS, generator=generator)
    return features, probabilities, label, trusted, prototypes


def _build(dimensions=3, **settings):
    torch.manual_seed(0)
    return PositiveSupervision(INPUTS, OUTPUTS, dimensions=dimensions, settings=_settings(**settings))


@pytest.fixture
def spied(monkeypatch):
    """What was drawn, class by class, and from what: (mask, indices) in the order anchors, negatives."""
    seen = []

    def draw(mask, count, original=supervision.draw):
        index, found = original(mask, count)
        seen.append((mask.clone(), index))
        return index, found

    monkeypatch.setattr(supervision, "draw", draw)
    return seen


def _cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (3, 2), (3, 4)])
def test_loss_equals_its_equation_for_the_voxels_drawn(dimensions, classes, spied):
    module = _build(dimensions).eval()
    features, probabilities, label, trusted, prototypes = _problem(classes, dimensions)
    found, share = module(features, probabilities, label, trusted, prototypes)

    rows = _plain_map(module.head, features, constant_statistics=True).detach().double().numpy()
    own = probabilities.movedim(1, -1).flatten(0, -2).numpy()
    answer, sure = label.flatten().numpy(), trusted.flatten().numpy()
    losses, anchored = [], 0
    for number in range(classes):
        mine = [v for v in range(len(rows)) if sure[v] and answer[v] == number]
        anchored += sum(own[v, number] < 0.8 for v in mine)
        center = prototypes[number].double().mean(0).numpy()
        positive = (rows[mine].mean(0) + 0.6 * center) / 1.6
        anchors, negatives = (index.tolist() for _, index in spied[2 * number : 2 * number + 2])
        values = []
        for anchor in anchors:
            near = math.exp(_cosine(rows[anchor], positive) / 0.5)
            far = sum(math.exp(_cosine(rows[anchor], rows[other]) / 0.5) for other in negatives)
            values.append(-math.log(near / (near + far)))
        losses.append(np.mean(values))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert share.item() == pytest.approx(anchored / len(rows))


@pytest.mark.parametrize("per_anchor", [False, True])
def test_anchors_are_unsure_and_negatives_of_other_classes_and_both_trusted(per_anchor, spied):
    module = _build(per_anchor=per_anchor)
    features, probabilities, label, trusted, prototypes = _problem()
    module(features, probabilities, label, trusted, prototypes)
    own, answer, sure = probabilities.movedim(1, -1).flatten(0, -2), label.flatten(), trusted.flatten()
    assert len(spied) == 6
    for number in range(3):
        (_, anchors), (_, negatives) = spied[2 * number : 2 * number + 2]
        assert sure[anchors].all()
        assert (answer[anchors] == number).all()
        assert (own[anchors, number] < 0.8).all()
        assert sure[negatives].all()
        assert (answer[negatives] != number).all()
        assert not set(anchors.tolist()) & set(negatives.tolist())
        assert len(negatives) == (45 if per_anchor else 9)


def test_only_anchors_carry_gradients_and_only_around_them(spied):
    module = _build(anchors=1).eval()
    features, probabilities, label, trusted, prototypes = _problem()
    inputs = [features.requires_grad_(), probabilities.requires_grad_(), prototypes.requires_grad_()]
    module(inputs[0], inputs[1], label, trusted, inputs[2])[0].backward()
    assert inputs[1].grad is None
    assert inputs[2].grad is None
    touched = inputs[0].grad.abs().sum(1).flatten() > 0
    near = torch.zeros_like(touched)
    for _, anchors in spied[::2]:
        box = torch.zeros(3, 1, *SPACES[3])
        box.view(-1)[anchors] = 1
        near |= functional.max_pool3d(box, 3, stride=1, padding=1).flatten() > 0
    assert touched.any()
    assert not (touched & ~near).any()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("mode", ["nothing trusted", "one class", "nobody unsure"])
def test_nothing_to_learn_from_costs_nothing(mode):
    module = _build()
    features, probabilities, label, trusted, prototypes = _problem()
    if mode == "nothing trusted":
        trusted = torch.zeros_like(trusted)
    elif mode == "one class":
        label = torch.ones_like(label)
    else:
        probabilities = torch.ones_like(probabilities)
    loss, _ = module(features.requires_grad_(), probabilities, label, trusted, prototypes)
    loss.backward()
    assert loss == 0
    assert features.grad.abs().sum() == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_a_class_without_anchors_does_not_count(spied):
    module = _build().eval()
    features, probabilities, label, trusted, prototypes = _problem(classes=3)
    label = label.clamp(max=1)  # the third class is absent
    torch.manual_seed(5)
    three = module(features, probabilities, label, trusted, prototypes)[0]
    torch.manual_seed(5)
    two = module(features, probabilities[:, :2], label, trusted, prototypes[:2])[0]
    assert three.item() == pytest.approx(two.item(), rel=1e-5)


def test_without_prototypes_the_positive_is_the_mean_of_the_class():
    features, probabilities, label, trusted, prototypes = _problem()
    values = []
    for given, positive in [(None, "mixed"), (prototypes, "mean"), (prototypes, "mixed"), (prototypes, "proto")]:
        module = _build(positive=positive).eval()
        torch.manual_seed(5)
        values.append(module(features, probabilities, label, trusted, given)[0].item())
    assert values[0] == values[1]
    assert len(set(values)) == 3


def test_temperature_and_numbers_of_voxels_count():
    features, probabilities, label, trusted, prototypes = _problem()
    values = set()
    for settings in ({}, {"temperature": 0.1}, {"negatives": 20}, {"anchors": 20}, {"threshold": 0.3}):
        module = _build(**settings).eval()
        torch.manual_seed(5)
        values.add(module(features, probabilities, label, trusted, prototypes)[0].item())
    assert len(values) == 5


def test_bf16_stays_near_float32():
    module = _build(anchors=50, negatives=50)
    features, probabilities, label, trusted, prototypes = _problem()
    values = []
    for enabled in (False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            values.append(module(features, probabilities, label, trusted, prototypes)[0].item())
    assert values[1] == pytest.approx(values[0], rel=0.02)
