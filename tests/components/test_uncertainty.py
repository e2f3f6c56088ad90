"""Entropy, its percentile, the sample of uncertain voxels, and the prototype term on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semivox.components.uncertainty import (
    UncertainToPrototype,
    above_percentile,
    entropy,
    pseudo_labels,
    reliable_voxels,
    sample_candidates,
)
from semivox.errors import UsageError
from semivox.networks import network_factory
from semivox.types import Task

shapes = pytest.mark.parametrize(("classes", "space"), [(2, (8, 9)), (4, (8, 9)), (2, (4, 5, 6)), (4, (4, 5, 6))])


def logs_of(classes, space, *, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, classes, *space, generator=generator).mul(scale).log_softmax(1)


@shapes
def test_entropy_is_that_of_the_probabilities(classes, space):
    logs = logs_of(classes, space)
    rows = logs.double().exp().movedim(1, -1).reshape(-1, classes).tolist()
    expected = [-sum(p * math.log(p) for p in row) for row in rows]
    assert entropy(logs).flatten().tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_entropy_reaches_from_zero_to_log_k():
    logits = torch.tensor([[300.0, -300.0, -300.0], [1.0, 1.0, 1.0]]).view(2, 3, 1, 1)
    found = entropy(logits.log_softmax(1)).flatten()
    assert found[0].item() == 0
    assert found[1].item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("count", [1, 2, 5, 6, 11, 100, 131, 1000])
@pytest.mark.parametrize("percentile", [0.0, 12.5, 20.0, 50.0, 99.9, 100.0])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_above_percentile_is_what_the_interpolated_percentile_says(count, percentile, levels):
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(levels, (count,), generator=generator).double()  # with few levels nearly all are tied
    expected = values.numpy() > np.percentile(values.numpy(), percentile)
    assert np.array_equal(above_percentile(values, percentile).numpy(), expected)


def test_values_tied_at_the_percentile_are_not_above_it():
    values = torch.zeros(100)
    values[70:] = torch.arange(1.0, 31.0)
    assert above_percentile(values, 20).sum() == 30  # with ">=" everything would be unreliable
    assert not above_percentile(torch.zeros(100), 20).any()


@pytest.mark.parametrize("seed", range(5))
def test_reliable_share_lies_between_the_percentile_and_twice_that(seed):
    first, second = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(seed))
    share = reliable_voxels(first, second, 20).float().mean().item()
    assert 0.2 <= share <= 0.4 + 2 / first.numel()
    assert reliable_voxels(first, first, 20).float().mean().item() == pytest.approx(0.2, abs=1e-3)
    tied = torch.where(first < 0.5, 0.0, first)
    assert reliable_voxels(tied, second, 20).float().mean() > 0.5


def test_reliable_voxels_shrink_with_the_percentile_and_are_the_same_for_swapped_networks():
    first, second = torch.rand(2, 2, 30, 30, generator=torch.Generator().manual_seed(0))
    masks = [reliable_voxels(first, second, percentile) for percentile in (0, 5, 20, 60, 100)]
    for smaller, larger in zip(masks[:-1], masks[1:], strict=True):
        assert not (smaller & ~larger).any()
        assert smaller.sum() < larger.sum()
    assert masks[0].any()
    assert masks[-1].all()
    assert torch.equal(reliable_voxels(second, first, 20), masks[2])


@shapes
def test_pseudo_labels_do_not_change_when_the_networks_are_swapped(classes, space):
    first, second = logs_of(classes, space).requires_grad_(), logs_of(classes, space, seed=1)
    label, reliable = pseudo_labels(first, second, 20)
    swapped = pseudo_labels(second, first, 20)
    assert torch.equal(label, swapped[0])
    assert torch.equal(reliable, swapped[1])
    assert not label.requires_grad
    if classes == 2:
        assert torch.equal(label.bool(), first.argmax(1).bool() | second.argmax(1).bool())


@pytest.mark.parametrize(("share", "drawn"), [(0.01, 4), (0.1, 40), (0.0, 1), (1.0, 400)])
def test_as_many_candidates_of_each_class_as_a_share_of_the_foreground(share, drawn):
    answer = torch.zeros(2000, dtype=torch.int64)
    answer[:500] = 1
    eligible = torch.ones(2000, dtype=torch.bool)
    eligible[400:600] = False
    sample = sample_candidates(answer, eligible, 2, share)
    assert sample.chosen.sum(1).tolist() == [drawn, drawn]
    for index in range(2):
        mine = sample.position[index][sample.chosen[index]]
        assert len(mine.unique()) == drawn
        assert eligible[mine].all()
        assert (answer[mine] == index).all()


def test_number_of_candidates_is_that_of_a_mean_foreground_class_and_never_more_than_there_are():
    answer = torch.cat([torch.zeros(5), torch.ones(300), torch.full((100,), 2.0), torch.full((0,), 3.0)]).long()
    sample = sample_candidates(answer, torch.ones(405, dtype=torch.bool), 4, 0.1)
    assert sample.chosen.sum(1).tolist() == [5, 13, 13, 0]  # 400 / 3 / 10


def test_without_candidates_nothing_is_chosen():
    sample = sample_candidates(torch.zeros(50, dtype=torch.int64), torch.zeros(50, dtype=torch.bool), 2, 0.5)
    assert not sample.chosen.any()


def test_every_candidate_is_drawn_equally_often_from_the_default_generator():
    torch.manual_seed(0)
    answer, eligible = torch.tensor([1] * 20 + [0] * 20), torch.ones(40, dtype=torch.bool)
    counts = torch.zeros(40)
    for _ in range(2000):
        sample = sample_candidates(answer, eligible, 2, 0.1)
        counts[sample.position[sample.chosen]] += 1
    assert counts.min() > 150  # 200 each, standard deviation 13
    assert counts.max() < 250
    torch.manual_seed(5)
    first = sample_candidates(answer, eligible, 2, 0.1).position
    torch.manual_seed(5)
    assert torch.equal(sample_candidates(answer, eligible, 2, 0.1).position, first)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_prototype_term_is_that_of_the_voxels_taken_one_by_one(memory_format):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 4, 3, 2, generator=generator).to(memory_format=memory_format)
    label = torch.randint(2, (2, 24), generator=generator)
    answer = (torch.rand(2, 24, generator=generator) > 0.3).long()
    reliable = torch.rand(2, 24, generator=generator) < 0.4
    rows = features.flatten(2).double()

    def unit(values):
        return values / values.norm()

    means = [unit(torch.stack([rows[b, :, v] for b in range(2) for v in range(24) if reliable[b, v]
                               and label[b, v] == k]).mean(0)) for k in range(2)]
    uncertain = [[rows[b, :, v] for b in range(2) for v in range(24) if not reliable[b, v] and answer[b, v] == k]
                 for k in range(2)]
    assert len(uncertain[0]) <= len(uncertain[1])  # so that all of both are drawn
    expected = 2 - (means[0] - means[1]).norm()
    for drawn, mean in zip(uncertain, means, strict=True):
        expected = expected + torch.stack([(unit(each) - mean).norm() for each in drawn]).mean()
    assert plain_term(share=1.0)(features, answer, label, reliable).item() == pytest.approx(expected.item(), rel=1e-5)


def plain_term(**options):
    network = network_factory("vnet", task=Task(3, 1, 2, 1), width=4)()
    return UncertainToPrototype(network, classes=2, **options)


def test_prototype_term_keeps_no_network_and_asks_for_decoder_maps():
    assert not list(plain_term().parameters())
    with pytest.raises(UsageError, match="decoder maps"):
        UncertainToPrototype(torch.nn.Conv3d(1, 2, 1), classes=2)


def test_only_the_features_of_drawn_and_reliable_voxels_get_a_gradient():
    features = torch.randn(1, 3, 40, requires_grad=True)
    answer = torch.tensor([[0, 1] * 20])
    reliable = torch.zeros(1, 40, dtype=torch.bool)
    reliable[:, :10] = True
    torch.manual_seed(0)
    plain_term(share=0.1)(features, answer, answer, reliable).backward()
    reached = features.grad.abs().sum(1)[0] > 0
    assert reached[:10].all()  # prototypes move apart
    assert reached[10:].sum() == 2  # one candidate of each class: a tenth of 15, and at least one
