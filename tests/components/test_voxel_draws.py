from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from semivox.components.voxel_draws import class_means, draw, neighborhoods


def test_draw_takes_each_voxel_of_the_mask_at_most_once_if_there_are_enough():
    torch.manual_seed(0)
    mask = torch.rand(500) < 0.3
    for count in (1, 20, int(mask.sum())):
        index, found = draw(mask, count)
        assert found
        assert index.shape == (count,)
        assert mask[index].all()
        assert len(set(index.tolist())) == count


def test_draw_repeats_if_there_are_fewer_and_takes_all_of_them():
    torch.manual_seed(0)
    mask = torch.zeros(30, dtype=torch.bool)
    mask[[3, 7, 29]] = True
    for count in (10, 100):  # fewer and more than all voxels
        index, found = draw(mask, count)
        assert found
        assert index.shape == (count,)
        assert set(index.tolist()) == {3, 7, 29}


def test_draw_of_an_empty_mask_says_so_and_stays_inside():
    index, found = draw(torch.zeros(5, dtype=torch.bool), 12)
    assert not found
    assert ((index >= 0) & (index < 5)).all()


@pytest.mark.parametrize("members", [40, 3])
def test_draw_is_uniform(members):
    torch.manual_seed(0)
    mask = torch.zeros(60, dtype=torch.bool)
    mask[:members] = True
    counts = torch.zeros(60)
    for _ in range(3000):
        counts += torch.bincount(draw(mask, 8)[0], minlength=60)
    expected = 8 * 3000 / members
    assert counts[members:].sum() == 0
    assert (counts[:members] - expected).abs().max() < 6 * expected**0.5


@pytest.mark.parametrize("classes", [2, 4])
def test_class_means_equal_loops_and_are_zero_for_an_absent_class(classes):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 3, generator=generator)
    label = torch.randint(0, classes - 1, (50,), generator=generator)  # the last class is absent
    trusted = torch.rand(50, generator=generator) < 0.7
    found = class_means(rows, label, trusted, classes=classes)
    for number in range(classes - 1):
        mine = [rows[v] for v in range(50) if trusted[v] and label[v] == number]
        assert torch.allclose(found[number], torch.stack(mine).mean(0), atol=1e-6)
    assert torch.equal(found[-1], torch.zeros(3))


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("space", [(4, 5), (3, 4, 5)], ids=["2d", "3d"])
def test_neighborhoods_are_what_a_convolution_sees(space, layout):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, *space, generator=generator)
    if layout == "last":
        last = torch.channels_last if len(space) == 2 else torch.channels_last_3d
        features = features.to(memory_format=last)
    weight = torch.randn(6, 3, *[3] * len(space), generator=generator)
    convolve = functional.conv2d if len(space) == 2 else functional.conv3d
    expected = convolve(features, weight, padding=1).movedim(1, -1).flatten(0, -2)
    index = torch.arange(len(expected))
    found = neighborhoods(features, index).flatten(1) @ weight.movedim(1, -1).flatten(1).T
    assert torch.allclose(found, expected, atol=1e-5)


def test_gradients_of_overlapping_neighborhoods_are_the_same_each_time_with_several_threads():
    features = torch.randn(2, 16, 16, 16, 16, requires_grad=True)
    index = torch.randint(0, 40, (512,))
    weight = torch.randn(512, 27, 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = [torch.autograd.grad((neighborhoods(features, index) * weight).sum(), features)[0] for _ in range(6)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, found[0]) for gradient in found)
