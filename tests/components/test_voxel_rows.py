from __future__ import annotations

import pytest
import torch

from semivox.components.voxel_rows import confidence_and_class, features_at, top_per_class


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
