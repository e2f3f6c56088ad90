"""The prototype loss against loops written from its equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semivox.losses.prototype import Prototypes, prototype_distance


def unit(vector):
    return vector / np.linalg.norm(vector)


def random_case(classes, places=5, width=6):
    generator = torch.Generator().manual_seed(2)
    candidates = torch.randn(classes, places, width, generator=generator)
    chosen = torch.rand(classes, places, generator=generator) < 0.7
    means = torch.randn(classes, width, generator=generator)
    return candidates, chosen, Prototypes(means, torch.ones(classes, dtype=torch.bool))


@pytest.mark.parametrize("sign", ["minus", "plus"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_distance_is_the_equation(classes, sign):
    candidates, chosen, prototypes = random_case(classes)
    means = [unit(row.double().numpy()) for row in prototypes.mean]
    within = 0.0
    for index in range(classes):
        drawn = [c.double().numpy() for c, yes in zip(candidates[index], chosen[index], strict=True) if yes]
        within += np.mean([np.linalg.norm(unit(c) - means[index]) for c in drawn])
    apart = [np.linalg.norm(means[a] - means[b]) for a in range(classes) for b in range(a + 1, classes)]
    pairs = np.mean([value if sign == "plus" else 2 - value for value in apart])
    expected = 2 / classes * within + pairs
    found = prototype_distance(candidates, chosen, prototypes, pair_sign=sign)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_two_classes_are_the_sum_of_two_distances_and_one_pair_by_hand():
    candidates = torch.tensor([[[3.0, 0.0]], [[0.0, 2.0]]])
    prototypes = Prototypes(torch.tensor([[0.0, 5.0], [0.0, -1.0]]), torch.tensor([True, True]))
    found = prototype_distance(candidates, torch.ones(2, 1, dtype=torch.bool), prototypes)
    assert found.item() == pytest.approx(math.sqrt(2) + 2 + (2 - 2), rel=1e-6)


def test_each_part_lies_between_zero_and_two():
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    prototypes = Prototypes(means, torch.tensor([True, True]))
    everything = torch.ones(2, 1, dtype=torch.bool)
    nearest = prototype_distance(7 * means.unsqueeze(1), everything, prototypes)
    farthest = prototype_distance(-7 * means.unsqueeze(1), everything, prototypes, pair_sign="plus")
    assert nearest.item() == pytest.approx(0, abs=1e-6)
    assert farthest.item() == pytest.approx(2 + 2 + 2, rel=1e-6)


def test_prototypes_are_constants_for_the_candidates_and_move_apart_themselves():
    candidates, chosen, prototypes = random_case(2)
    means = prototypes.mean.clone().requires_grad_()
    drawn = candidates.clone().requires_grad_()
    prototype_distance(drawn, chosen, Prototypes(means, prototypes.present)).backward()
    assert torch.equal(drawn.grad.abs().sum(2) > 0, chosen)
    alone = prototypes.mean.clone().requires_grad_()
    nothing = torch.zeros_like(chosen)
    prototype_distance(candidates, nothing, Prototypes(alone, prototypes.present)).backward()
    torch.testing.assert_close(means.grad, alone.grad)
    step = prototypes.mean - 0.1 * alone.grad
    assert distance(step) > distance(prototypes.mean)


def distance(means):
    first, second = (row / row.norm() for row in means)
    return (first - second).norm()


@pytest.mark.parametrize("absent", [0, 1])
def test_an_absent_prototype_counts_zero_with_finite_gradients(absent):
    candidates, chosen, prototypes = random_case(2)
    means = prototypes.mean.clone()
    means[absent] = 0
    present = torch.ones(2, dtype=torch.bool)
    present[absent] = False
    drawn, means = candidates.requires_grad_(), means.requires_grad_()
    found = prototype_distance(drawn, chosen, Prototypes(means, present))
    found.backward()
    other = 1 - absent
    away = [np.linalg.norm(unit(c) - unit(means[other].detach().numpy()))
            for c, yes in zip(drawn[other].detach().numpy(), chosen[other], strict=True) if yes]
    assert found.item() == pytest.approx(np.mean(away), rel=1e-5)
    assert torch.isfinite(drawn.grad).all()
    assert torch.isfinite(means.grad).all()


def test_nothing_at_all_costs_nothing():
    means = torch.zeros(2, 3, requires_grad=True)
    prototypes = Prototypes(means, torch.zeros(2, dtype=torch.bool))
    found = prototype_distance(torch.zeros(2, 1, 3), torch.zeros(2, 1, dtype=torch.bool), prototypes)
    found.backward()
    assert found.item() == 0
    assert torch.equal(means.grad, torch.zeros_like(means))


def test_zero_features_and_candidates_on_their_prototype_have_finite_gradients():
    candidates = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]], requires_grad=True)
    means = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    prototypes = Prototypes(means, torch.tensor([True, True]))
    found = prototype_distance(candidates, torch.ones(2, 2, dtype=torch.bool), prototypes)
    found.backward()
    assert torch.isfinite(found)
    assert candidates.grad.abs().max() < 10
    assert torch.isfinite(means.grad).all()
