from __future__ import annotations

import pytest
import torch

from semivox.components import mixing
from semivox.components.mixing import beta_boxes, mix

SPACES = [(32, 24), (32, 24, 8)]


def _boxes(space, **arguments):
    torch.manual_seed(3)
    return [~beta_boxes(space, **arguments) for _ in range(300)]


def _sides(box):
    """First index and length along each axis of the True voxels of one box."""
    found = []
    for axis in range(box.dim()):
        along = box.any(dim=[other for other in range(box.dim()) if other != axis]).nonzero().flatten()
        found.append((int(along[0]), len(along)) if len(along) else (0, 0))
    return found


@pytest.mark.parametrize("space", SPACES, ids=["2d", "3d"])
def test_each_sample_has_one_box_in_plane_over_the_full_depth(space):
    for boxes in _boxes(space, samples=2):
        assert boxes.shape == (2, *space)
        for box in boxes:
            sides = _sides(box)
            lengths = [length for _, length in sides]
            assert int(box.sum()) == torch.tensor(lengths).prod()  # filled
            if len(space) == 3 and box.any():
                assert sides[2] == (0, space[2])


def test_box_has_the_published_size_before_it_is_cut():
    generator_state = torch.Generator().manual_seed(0).get_state()
    for _ in range(50):
        torch.set_rng_state(generator_state)
        shape = torch.tensor(4.0)
        share = (1 - torch.distributions.Beta(shape, shape).sample()).sqrt()
        torch.set_rng_state(generator_state)
        box = ~beta_boxes((32, 24))[0]
        for (start, length), side in zip(_sides(box), (32, 24), strict=True):
            size = int(side * share)
            assert length <= size
            assert length == size or start == 0 or start + length == side  # shorter only at a border
        generator_state = torch.get_rng_state()


def test_samples_of_a_batch_share_one_size_and_batches_differ():
    torch.manual_seed(0)
    sizes = []
    for _ in range(300):
        inner = [length for start, length in (_sides(box)[0] for box in ~beta_boxes((64, 4), samples=2))
                 if start > 0 and start + length < 64]
        if len(inner) == 2:
            sizes.append(inner)
    assert all(one == other for one, other in sizes)
    assert len({one for one, _ in sizes}) > 10


@pytest.fixture
def half_of_the_area(monkeypatch):
    """lambda is a half nearly surely."""
    monkeypatch.setattr(mixing, "_ALPHA", 1e5)


@pytest.mark.usefixtures("half_of_the_area")
def test_lambda_of_a_half_makes_boxes_of_half_the_area():
    torch.manual_seed(0)
    sizes = []
    for _ in range(200):
        lengths = _sides(~beta_boxes((64, 64))[0])
        sizes += [length for start, length in lengths if start > 0 and start + length < 64]
    assert sizes
    assert all(44 <= size <= 46 for size in sizes)  # 64 / sqrt(2) = 45.25


@pytest.mark.usefixtures("half_of_the_area")
def test_centers_lie_between_an_eighth_and_the_end_and_differ_between_samples():
    torch.manual_seed(0)
    starts = []
    for _ in range(200):
        one, other = (_sides(box)[0] for box in ~beta_boxes((64, 64), samples=2))
        starts.append((one, other))
        for start, length in (one, other):
            if start > 0:
                assert start + 22 >= 8
            assert length >= 22  # a center inside leaves at least half of the box
    assert any(one != other for one, other in starts)


def test_splicing_a_batch_with_itself_changes_nothing_and_labels_follow_images():
    torch.manual_seed(0)
    image = torch.randn(2, 1, 16, 16, 4)
    mask = beta_boxes((16, 16, 4), samples=2)
    assert torch.equal(mix(image, image, mask), image)
    label = (image[:, 0] > 0).long()
    other = image.flip(0)
    spliced = mix(image, other, mask)
    assert torch.equal((spliced[:, 0] > 0).long(), mix(label, label.flip(0), mask))
