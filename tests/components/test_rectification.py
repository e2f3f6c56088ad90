"""The ways to rectify, each against its equation, and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semivox.components.rectification import Rectification, RectifiedProbabilities
from semivox.losses.supervised import ce_dice
from semivox.networks.output import Output

WITH_MU = ["logit", "prob_norm", "prob_raw"]
EVERY = [*WITH_MU, "replace", "concat"]


def _case(classes=3, seed=0, space=(4, 3, 2)):
    generator = torch.Generator().manual_seed(seed)
    logits, opinion = (3 * torch.randn(2, classes, *space, generator=generator) for _ in range(2))
    return logits, opinion, torch.randint(0, classes, (2, *space), generator=generator)


def _build(mode, classes=3, dimensions=3, **settings):
    return Rectification(mode, classes=classes, dimensions=dimensions, **settings)


def _softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def _reference(mode, z, m, mu, tau):
    """The rectified scores of one voxel."""
    p, q = _softmax(z), _softmax(m)
    if mode == "logit":
        return _softmax(z + (1 - mu) * m)
    if mode == "replace":
        return q if p.max() < tau <= q.max() else p
    if mode == "concat":
        return p  # before anything is learned
    summed = p + (1 - mu) * q
    return summed / (2 - mu) if mode == "prob_norm" else summed


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("mode", EVERY)
def test_scores_equal_the_equation(mode, classes):
    logits, opinion, _ = _case(classes)
    found = _build(mode, classes, start=0.3, threshold=0.9).scores(logits, opinion)
    z, m, scores = (each.flatten(2).numpy().astype(np.float64) for each in (logits, opinion, found.detach()))
    for sample in range(2):
        for voxel in range(z.shape[2]):
            expected = _reference(mode, z[sample, :, voxel], m[sample, :, voxel], 0.3, 0.9)
            assert np.allclose(scores[sample, :, voxel], expected, atol=1e-5)


def test_replacement_takes_some_voxels_and_leaves_others():
    logits, opinion, _ = _case()
    scores = _build("replace", threshold=0.9).scores(logits, opinion)
    taken = (scores == opinion.softmax(1)).all(1)
    assert 0 < taken.sum() < taken.numel()
    assert torch.equal(scores.movedim(1, -1)[~taken], logits.softmax(1).movedim(1, -1)[~taken])


@pytest.mark.parametrize("mode", WITH_MU)
def test_mu_of_one_changes_nothing(mode):
    logits, opinion, _ = _case()
    assert torch.allclose(_build(mode, start=1.0).scores(logits, opinion), logits.softmax(1), atol=1e-6)


def test_opinion_that_is_the_same_for_all_classes_changes_nothing():
    logits, opinion, _ = _case()
    same = opinion[:, :1].expand_as(opinion)
    assert torch.allclose(_build("logit").scores(logits, same), logits.softmax(1), atol=1e-5)


@pytest.mark.parametrize("mode", EVERY)
def test_scores_sum_to_one_except_for_the_literal_sum(mode):
    logits, opinion, _ = _case()
    summed = _build(mode, start=0.25).scores(logits, opinion).sum(1)
    assert torch.allclose(summed, torch.full_like(summed, 1.75 if mode == "prob_raw" else 1.0), atol=1e-5)


def test_literal_sum_has_the_answer_of_the_normalized_one_and_more_confidence():
    logits, opinion, _ = _case()
    raw, normalized = (_build(mode, start=0.2).scores(logits, opinion) for mode in ("prob_raw", "prob_norm"))
    assert torch.equal(raw.argmax(1), normalized.argmax(1))
    assert torch.allclose(raw, 1.8 * normalized, atol=1e-5)


def test_derivative_of_the_normalized_sum_with_respect_to_mu():
    logits, opinion, _ = _case()
    module = _build("prob_norm", start=0.4)
    p, q = logits.softmax(1), opinion.softmax(1)
    probabilities = module(logits, opinion).exp()
    assert torch.allclose(probabilities, (p + 0.6 * q) / 1.6, atol=1e-6)
    for index in [(0, 0, 0, 0, 0), (1, 2, 3, 1, 1)]:
        (found,) = torch.autograd.grad(probabilities[index], module.strength, retain_graph=True)
        assert found.item() == pytest.approx(((p - q)[index] / 1.6**2).item(), abs=1e-5)


@pytest.mark.parametrize("mode", ["logit", "prob_norm"])
def test_a_teacher_better_than_the_map_raises_mu_and_a_worse_one_lowers_it(mode):
    _, _, label = _case()
    right = 3 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    unsure, wrong = torch.zeros_like(right), right.roll(1, 1)
    for logits, opinion, sign in [(right, wrong, -1), (unsure, right, 1)]:
        module = _build(mode, start=0.5)
        ce_dice(module(logits, opinion), label).backward()
        assert sign * module.strength.grad > 0  # descent moves against the gradient


@pytest.mark.parametrize("mode", [*WITH_MU, "concat"])
def test_loss_reaches_what_rectifies_and_is_finite_for_extreme_logits(mode):
    logits, opinion, label = _case()
    module = _build(mode)
    loss = ce_dice(module(200 * logits, 200 * opinion), label)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())
    assert module.learned
    assert not _build("replace").learned
    assert list(_build("replace").parameters()) == []


def test_raw_mu_is_put_back_into_its_range_and_the_sigmoid_needs_none():
    module = _build("logit", start=0.1)
    assert module.mu.item() == pytest.approx(0.1)
    for value, expected in [(-0.5, 0.0), (1.5, 1.0), (0.4, 0.4)]:
        with torch.no_grad():
            module.strength.fill_(value)
        module.project()
        assert module.mu.item() == pytest.approx(expected)
    curved = _build("logit", start=0.1, parameter="sigmoid")
    assert curved.mu.item() == pytest.approx(0.1, abs=1e-6)
    with torch.no_grad():
        curved.strength.fill_(-3.0)
    curved.project()
    assert curved.strength.item() == -3.0
    assert 0 < curved.mu.item() < 0.1
    assert torch.isfinite(_build("logit", start=0.0, parameter="sigmoid").strength)


@pytest.mark.parametrize("mode", EVERY)
def test_mu_is_watched_where_there_is_one(mode):
    assert set(_build(mode).watched()) == ({"mu"} if mode in WITH_MU else set())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_convolution_learns_another_combination(dimensions):
    logits, opinion, label = _case(space=(4, 3, 2)[:dimensions])
    module = _build("concat", dimensions=dimensions)
    assert torch.allclose(module(logits, opinion), logits, atol=1e-6)
    ce_dice(module(logits, opinion), label).backward()
    assert module.combine.weight.grad[:, 3:].abs().sum() > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(module(logits, opinion), logits, atol=1e-6)


def test_watched_network_gives_rectified_probabilities():
    logits, opinion, _ = _case()

    def network(image):
        return Output(logits + image, (), ()), opinion

    class Fixed(torch.nn.Module):
        def forward(self, image):
            return network(image)

    module = _build("prob_raw", start=0.3)
    found = RectifiedProbabilities(Fixed(), module)(torch.zeros(()))
    assert torch.allclose(found, (logits.softmax(1) + 0.7 * opinion.softmax(1)) / 1.7, atol=1e-5)
