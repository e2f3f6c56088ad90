"""What two networks say together, against loops over voxels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.components.consensus import Union, contested_voxels, union_label
from semivox.networks.output import Output

shapes = pytest.mark.parametrize(("classes", "space"), [(2, (8, 9)), (4, (8, 9)), (2, (4, 5, 6)), (4, (4, 5, 6))])


def two_answers(classes, space):
    generator = torch.Generator().manual_seed(4)
    return tuple(torch.randn(2, classes, *space, generator=generator).mul(2).softmax(1) for _ in range(2))


def voxels(values):
    return values.movedim(1, -1).reshape(-1, values.shape[1]).tolist()


def slow_union(p, q):
    one, other = p.index(max(p)), q.index(max(q))
    if one and other:
        return one if p[one] >= q[other] else other
    return one or other


def slow_confident(p, confidence):
    best = max(range(1, len(p)), key=lambda index: p[index])
    return best if p[best] >= confidence else 0


@shapes
def test_union_takes_the_foreground_of_either_and_the_surer_of_both(classes, space):
    first, second = two_answers(classes, space)
    expected = [slow_union(p, q) for p, q in zip(voxels(first), voxels(second), strict=True)]
    assert len(set(expected)) == classes
    assert union_label(first, second).flatten().tolist() == expected


@shapes
def test_contested_are_the_voxels_with_different_confident_answers(classes, space):
    first, second = two_answers(classes, space)
    pairs = zip(voxels(first), voxels(second), strict=True)
    expected = [slow_confident(p, 0.6) != slow_confident(q, 0.6) for p, q in pairs]
    assert any(expected)
    assert not all(expected)
    assert contested_voxels(first, second, 0.6).flatten().tolist() == expected


@pytest.mark.parametrize("confidence", [0.0, 0.3, 0.6, 0.9])
def test_with_two_classes_they_are_the_or_and_the_xor_of_the_paper(confidence):
    first, second = two_answers(2, (4, 5, 6))
    either = first.argmax(1).bool() | second.argmax(1).bool()
    assert torch.equal(union_label(first, second), either.long())
    exclusive = (first[:, 1] >= confidence) ^ (second[:, 1] >= confidence)
    assert torch.equal(contested_voxels(first, second, confidence), exclusive)


@shapes
def test_swapping_the_networks_changes_nothing_not_even_ties(classes, space):
    first, second = two_answers(classes, space)
    if classes > 2:
        second = second.clone()
        second[:, 1:] = first[:, 1:].flip(1)  # equally sure of different classes
        second[:, 0] = first[:, 0]
    assert torch.equal(union_label(first, second), union_label(second, first))
    assert torch.equal(contested_voxels(first, second, 0.6), contested_voxels(second, first, 0.6))


def test_a_tie_with_the_background_is_background():
    even = torch.full((1, 2, 1, 1), 0.5)
    assert union_label(even, even).item() == 0


def test_nothing_has_a_gradient():
    first, second = (each.requires_grad_() for each in two_answers(3, (4, 5)))
    assert not union_label(first, second).requires_grad
    assert not contested_voxels(first, second, 0.6).requires_grad


@pytest.mark.parametrize("space", [(5, 6), (4, 5, 6)])
def test_union_module_is_the_label_as_probabilities(space):
    class Fixed(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, image):
            return Output(self.logits, (), ())

    first, second = torch.randn(2, 3, *space), torch.randn(2, 3, *space)
    found = Union(Fixed(first), Fixed(second))(torch.zeros(2, 1, *space))
    assert found.dtype == torch.float32
    assert torch.equal(found.sum(1), torch.ones(2, *space))
    assert torch.equal(found.argmax(1), union_label(first.softmax(1), second.softmax(1)))
