from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from semivox.components.mixing import box_mask, mix, mix_halves

SPACES = [(13, 9), (12, 10, 7)]


@pytest.mark.parametrize(("space", "fraction", "sides"), [
    ((112, 112, 80), 2 / 3, (74, 74, 53)), ((96, 96, 96), 2 / 3, (64, 64, 64)), ((256, 256), 1 / 2, (128, 128)),
    ((9, 7), 0.0, (0, 0)), ((9, 7), 1.0, (9, 7)), ((10, 5, 3), 0.3, (3, 1, 0)),
])
def test_zeros_are_a_box_of_exactly_that_size(space, fraction, sides) -> None:
    torch.manual_seed(0)
    mask = box_mask(space, fraction)
    assert mask.shape == (1, *space)
    assert mask.dtype == torch.bool
    zeros = (~mask[0]).nonzero()
    assert len(zeros) == math.prod(sides)
    if len(zeros):
        assert tuple((zeros.amax(0) - zeros.amin(0) + 1).tolist()) == sides


def test_every_position_of_the_box_is_equally_likely() -> None:
    torch.manual_seed(0)
    masks = box_mask((6, 5), 0.5, samples=6000)  # sides 3 and 2: 4 x 4 positions
    first = (~masks).flatten(1).int().argmax(1)
    found = torch.stack([first // 5, first % 5])
    assert found.amin(1).tolist() == [0, 0]
    assert found.amax(1).tolist() == [3, 3]
    counts = torch.bincount(found[0] * 4 + found[1], minlength=16)
    assert (counts - 375).abs().max() < 5 * math.sqrt(375)


def test_masks_of_samples_differ_and_follow_the_default_generator() -> None:
    torch.manual_seed(3)
    first = box_mask((16, 16, 16), 0.4, samples=5)
    other = box_mask((16, 16, 16), 0.4, samples=5, like=torch.zeros(1))
    torch.manual_seed(3)
    assert torch.equal(box_mask((16, 16, 16), 0.4, samples=5), first)
    assert not torch.equal(first, other)
    assert len({tuple(mask.flatten().tolist()) for mask in first}) > 1
    assert ((~first).flatten(1).sum(1) == 6**3).all()


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("space", SPACES)
def test_mix_takes_the_first_where_true_and_commutes_with_argmax_and_one_hot(space, samples) -> None:
    torch.manual_seed(1)
    mask = box_mask(space, 0.6, samples=samples)
    first, second = torch.randn(2, 3, 4, *space)  # logits of four classes
    mixed = mix(first, second, mask)
    keep = mask.unsqueeze(1).float()
    assert torch.equal(mixed, first * keep + second * (1 - keep))
    labels = mix(first.argmax(1), second.argmax(1), mask)
    assert labels.dtype == torch.int64
    assert torch.equal(mixed.argmax(1), labels)
    one_hot = mix(*(functional.one_hot(z.argmax(1), 4).movedim(-1, 1) for z in (first, second)), mask)
    assert torch.equal(one_hot, functional.one_hot(labels, 4).movedim(-1, 1))
    assert torch.equal(mix(first, first, mask), first)
    assert torch.equal(mix(first, second, torch.ones_like(mask)), first)
    assert torch.equal(mix(first, second, torch.zeros_like(mask)), second)


def test_mix_keeps_type_and_layout() -> None:
    mask = box_mask((8, 8, 8), 0.5)
    first = torch.randn(2, 3, 8, 8, 8, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
    mixed = mix(first, first.flip(0).contiguous(memory_format=torch.channels_last_3d), mask)
    assert mixed.dtype == torch.bfloat16
    assert mixed.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("samples", [1, 2])
def test_halves_are_mixed_with_each_other(samples: int) -> None:
    torch.manual_seed(2)
    mask = box_mask((8, 6, 4), 0.5, samples=samples)
    image, label = torch.randn(4, 2, 8, 6, 4), torch.randint(0, 3, (4, 8, 6, 4))
    assert torch.equal(mix_halves(image, image, mask), mix(image[:2], image[2:], mask))
    assert torch.equal(mix_halves(label, label, mask), mix(label[:2], label[2:], mask))
    assert torch.equal(mix_halves(label, label + 7, mask), mix(label[:2], label[2:] + 7, mask))


def test_without_a_mask_the_batch_stays_whole() -> None:
    image = torch.randn(3, 1, 4, 4)
    assert mix_halves(image, image + 1, None) is image
