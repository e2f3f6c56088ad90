from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from semivox.components.voxels import (
    class_means,
    class_members,
    confidence_and_class,
    draw,
    features_at,
    neighborhoods,
    top_per_class,
)


def material(groups: int = 2, voxels: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(groups, voxels, generator=generator)
    label = torch.randint(0, 3, (groups, voxels), generator=generator)
    return score, label, torch.rand(groups, voxels, generator=generator) > 0.4


@pytest.mark.parametrize("limit", [3, 7, 100])
def test_is_the_head_of_the_sorted_members_of_each_class(limit: int) -> None:
    score, label, member = material()
    chosen = top_per_class(score, label, member, classes=4, limit=limit)
    assert chosen.position.shape == (2, 4, min(limit, 40))
    for group in range(2):
        for number in range(4):  # nothing has label 3
            mine = [v for v in range(40) if member[group, v] and label[group, v] == number]
            mine.sort(key=lambda v: -score[group, v].item())
            valid = chosen.valid[group, number]
            assert chosen.position[group, number][valid].tolist() == [40 * group + v for v in mine[:limit]]
            assert valid.sum() == min(limit, len(mine))
            assert torch.equal(valid, valid.sort(descending=True).values)  # the valid ones come first
            assert chosen.members[group, number] == len(mine)


def test_least_chosen_score_is_not_below_the_greatest_unchosen_one() -> None:
    score, label, member = material()
    chosen = top_per_class(score, label, member, classes=3, limit=3)
    for group in range(2):
        for number in range(3):
            mask = member[group] & (label[group] == number)
            taken = torch.zeros(40, dtype=torch.bool)
            taken[chosen.position[group, number][chosen.valid[group, number]] - 40 * group] = True
            assert score[group][taken].min() >= score[group][mask & ~taken].max()


def test_random_scores_choose_uniformly_without_replacement() -> None:
    torch.manual_seed(0)
    label = torch.zeros(4000, 6, dtype=torch.int64)
    member = torch.tensor([True, True, False, True, True, True]).expand(4000, 6)
    chosen = top_per_class(torch.rand(4000, 6), label, member, classes=1, limit=2)
    voxel = chosen.position[:, 0] % 6
    assert (voxel[:, 0] != voxel[:, 1]).all()
    share = torch.bincount(voxel.flatten(), minlength=6) / 4000  # 2 of 5: 0.4, standard deviation 0.008
    assert share[2] == 0
    assert (share[[0, 1, 3, 4, 5]] - 0.4).abs().max() < 0.04


@pytest.mark.parametrize("space", [(4, 3), (2, 3, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_features_are_those_of_the_voxels_in_any_memory_format(space: tuple[int, ...], channels_last: bool) -> None:
    maps = torch.randn(3, 5, *space)
    if channels_last:
        layout = torch.channels_last if len(space) == 2 else torch.channels_last_3d
        maps = maps.contiguous(memory_format=layout)
    rows = maps.movedim(1, -1).reshape(-1, 5)
    position = torch.tensor([[0, len(rows) - 1], [17, 17]])
    assert torch.equal(features_at(maps, position), rows[position])


def test_gradient_of_rows_reaches_their_voxels_alone() -> None:
    maps = torch.zeros(2, 3, 4, requires_grad=True)
    features_at(maps, torch.tensor([5, 5, 2])).sum().backward()
    expected = torch.zeros(2, 3, 4)
    expected[1, :, 1], expected[0, :, 2] = 2, 1
    assert torch.equal(maps.grad, expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_confidence_and_class_are_the_largest_probability_and_the_first_class_that_has_it(classes: int) -> None:
    probs = torch.randn(3, classes, 4, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    probs[0] = 1 / classes  # ties
    confidence, answer = confidence_and_class(probs.requires_grad_())
    values, index = probs.max(1)
    assert torch.equal(confidence, values)
    assert torch.equal(answer, index)
    assert not confidence.requires_grad


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


def members_of(classes, *shape):
    """Features, and which of them are members of a class; none of the last one."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, classes - 1, shape, generator=generator)
    trusted = torch.rand(shape, generator=generator) < 0.7
    return torch.randn(*shape, 3, generator=generator), label, trusted


@pytest.mark.parametrize("shape", [(50,), (2, 30)], ids=["one group", "two groups"])
@pytest.mark.parametrize("classes", [2, 4])
def test_class_means_equal_loops_and_are_zero_for_an_absent_class(classes, shape):
    rows, label, trusted = members_of(classes, *shape)
    found = class_means(rows, class_members(label, trusted, classes=classes))
    rows, label, trusted = rows.view(-1, 3), label.flatten(), trusted.flatten()
    for number in range(classes - 1):
        mine = [rows[v] for v in range(len(rows)) if trusted[v] and label[v] == number]
        assert torch.allclose(found[number], torch.stack(mine).mean(0), atol=1e-6)
    assert torch.equal(found[-1], torch.zeros(3))


def test_class_means_of_nothing_have_zero_gradients():
    rows = torch.randn(2, 9, 3, requires_grad=True)
    class_means(rows, torch.zeros(2, 4, 9, dtype=torch.bool)).sum().backward()
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_class_means_of_float32_rows_are_float32_under_autocast():
    rows = torch.randn(1, 1024, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = class_means(rows, torch.ones(1, 1, 1024, dtype=torch.bool))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0], rows.mean((0, 1)), rtol=1e-5, atol=1e-6)


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


def test_gradients_of_a_voxel_that_is_read_often_are_the_same_each_time_with_several_threads():
    features = torch.randn(2, 16, 16, 16, 16, requires_grad=True)
    position = torch.randint(0, 40, (64, 512))
    weight = torch.randn(64, 512, 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = [torch.autograd.grad((features_at(features, position) * weight).sum(), features)[0] for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, found[0]) for gradient in found)
