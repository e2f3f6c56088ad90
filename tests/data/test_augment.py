"""Reading only the patch equals turning, flipping, padding and cropping the whole scan."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semivox.data.augment import (
    IDENTITY,
    Augmentation,
    Turn,
    View,
    cut,
    draw_crop,
    draw_view,
    draw_weak,
    padding,
    require_kind,
    turned_position,
    turned_shape,
)
from semivox.errors import UsageError

TURNS = [Turn(quarters, flip) for quarters, flip in product(range(4), (0, 1, None))]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scan(shape: tuple[int, ...], channels: int = 2) -> np.ndarray:
    """Every voxel has a value of its own, none of them 0."""
    return np.arange(1, channels * np.prod(shape) + 1, dtype=np.float32).reshape(channels, *shape)


def whole_scan_way(array: np.ndarray, view: View, patch: tuple[int, ...], margins: tuple[int, ...]) -> np.ndarray:
    """Rotate everything, flip everything, pad everything, then crop: the order of the literature."""
    turned = np.rot90(array, view.turn.quarters, axes=(1, 2))
    if view.turn.flip_axis is not None:
        turned = np.flip(turned, axis=view.turn.flip_axis + 1)
    padded = np.pad(turned, [(0, 0), *((margin, margin) for margin in margins)])
    starts = [start + margin for start, margin in zip(view.start, margins, strict=True)]
    assert all(start >= 0 for start in starts)
    box = [slice(start, start + side) for start, side in zip(starts, patch, strict=True)]
    return padded[(slice(None), *box)]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((9, 7, 5), (4, 3, 2)),  # larger than the patch everywhere
        ((9, 7, 5), (4, 3, 5)),  # equal along one axis: padding
        ((9, 7, 5), (12, 3, 2)),  # smaller along one axis
        ((5, 4, 3), (8, 8, 8)),  # smaller everywhere
        ((6, 30, 4), (8, 4, 4)),  # in-plane sides that a quarter turn swaps
    ],
)
def test_patch_equals_that_of_the_whole_scan_way(
    turn: Turn, shape: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    array = scan(shape)
    margins = padding(turned_shape(shape, turn), patch)
    for seed in range(40):
        view = View(turn, draw_crop(turned_shape(shape, turn), patch, rng(seed)))
        found = cut(array, view, patch)
        np.testing.assert_array_equal(found, whole_scan_way(array, view, patch, margins))
        assert found.flags.c_contiguous
        assert found.dtype == array.dtype


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    patch=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 2**32),
)
def test_patch_equals_that_of_the_whole_scan_way_for_any_sides(
    shape: tuple[int, ...], patch: tuple[int, int, int], seed: int
) -> None:
    array = scan(shape, channels=1)
    view = draw_view(shape, rng(seed), Augmentation(patch))
    margins = padding(turned_shape(shape, view.turn), patch)
    np.testing.assert_array_equal(cut(array, view, patch), whole_scan_way(array, view, patch, margins))


def test_only_the_patch_of_a_memory_mapped_scan_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", scan((20, 18, 16)))
    mapped = np.load(tmp_path / "scan.npy", mmap_mode="r")
    asked = []

    class Spy:
        shape, dtype = mapped.shape, mapped.dtype

        def __getitem__(self, index: tuple) -> np.ndarray:
            asked.append(mapped[index].shape)
            return mapped[index]

    view = View(Turn(1, 0), (2, 3, 4))
    found = cut(Spy(), view, (6, 5, 4))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, cut(scan((20, 18, 16)), view, (6, 5, 4)))
    assert asked == [(2, 5, 6, 4)]


def test_a_patch_can_be_cut_into_a_given_array_of_another_type() -> None:
    label = (scan((6, 6, 6), channels=1)[0] % 3).astype(np.uint8)
    view = View(Turn(3, 1), (-2, 1, 0))
    out = np.full((8, 4, 4), 9, np.int64)
    assert cut(label, view, (8, 4, 4), out=out) is out
    np.testing.assert_array_equal(out, cut(label, view, (8, 4, 4)))


@pytest.mark.parametrize("turn", TURNS)
def test_a_voxel_is_found_where_the_turn_puts_it(turn: Turn) -> None:
    array = scan((5, 4, 3), channels=1)
    turned = cut(array, View(turn, (0, 0, 0)), turned_shape((5, 4, 3), turn))
    for position in product(range(5), range(4), range(3)):
        assert turned[(0, *turned_position(position, (5, 4, 3), turn))] == array[(0, *position)]


def test_padding_follows_the_published_rule() -> None:
    # max((P - s) // 2 + 3, 0) on every side as soon as one side is at most the patch's.
    assert padding((20, 20, 20), (16, 16, 16)) == (0, 0, 0)
    assert padding((16, 20, 40), (16, 16, 16)) == (3, 1, 0)
    assert padding((10, 21, 13), (16, 16, 16)) == (6, 0, 4)


def test_the_slice_axis_of_2d_patches_is_never_padded() -> None:
    assert padding((10, 20, 1), (16, 16, 1), dimensions=2) == (6, 1, 0)
    assert padding((20, 20, 1), (16, 16, 1), dimensions=2) == (0, 0, 0)


def test_crops_are_uniform_over_all_positions_both_ends_included() -> None:
    source = rng(1)
    starts = np.array([draw_crop((14, 12, 11), (10, 10, 10), source) for _ in range(6000)])
    for axis, positions in enumerate((5, 3, 2)):
        counts = np.bincount(starts[:, axis], minlength=positions)
        assert len(counts) == positions
        expected = 6000 / positions
        assert np.sum((counts - expected) ** 2 / expected) < 18.5  # chi square, 4 degrees: p = 0.001


def test_crops_of_a_scan_as_large_as_the_patch_reach_into_the_padding() -> None:
    source = rng(2)
    starts = np.array([draw_crop((8, 8, 8), (8, 8, 8), source) for _ in range(2000)])
    assert starts.min() == -3
    assert starts.max() == 3


def test_turns_are_equally_likely_and_always_flip() -> None:
    source = rng(3)
    turns = [draw_weak(source) for _ in range(4000)]
    counts = np.array([turns.count(Turn(*pair)) for pair in product(range(4), (0, 1))])
    assert counts.sum() == 4000
    assert np.sum((counts - 500) ** 2 / 500) < 24.3  # chi square, 7 degrees: p = 0.001


def test_image_and_label_get_the_same_patch() -> None:
    image = scan((12, 10, 8), channels=1)
    for seed in range(20):
        view = draw_view(image.shape[1:], rng(seed), Augmentation((8, 8, 8)))
        patch, label = cut(image, view, (8, 8, 8)), cut(image[0].astype(np.int32), view, (8, 8, 8))
        np.testing.assert_array_equal(patch[0].astype(np.int32), label)


def test_the_same_generator_gives_the_same_patch() -> None:
    image, how = scan((12, 10, 8)), Augmentation((6, 6, 6))
    first, second, other = (cut(image, draw_view((12, 10, 8), rng(seed), how), how.patch) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_kind_crop_neither_turns_nor_flips() -> None:
    source = rng(5)
    views = [draw_view((9, 9, 9), source, Augmentation((4, 4, 4), kind="crop")) for _ in range(50)]
    assert {view.turn for view in views} == {IDENTITY}
    assert len({view.start for view in views}) > 20


def test_2d_patches_are_turned_slices() -> None:
    image, how = scan((10, 8, 6), channels=3), Augmentation((6, 6, 1), dimensions=2)
    slices = set()
    for seed in range(80):
        view = draw_view((10, 8, 6), rng(seed), how)
        patch = cut(image, view, how.patch)[..., 0]
        assert patch.shape == (3, 6, 6)
        np.testing.assert_array_equal(patch[0], cut(image[0], view, how.patch)[..., 0])
        assert len({(value - 1) % 6 for value in patch[0].ravel()}) == 1  # all voxels have the same z
        slices.add(int((patch[0, 0, 0] - 1) % 6))
    assert slices == set(range(6))


def test_foreground_crops_hold_the_voxel_and_each_class_is_equally_likely() -> None:
    image = scan((30, 28, 26), channels=1)
    foreground = np.array([[1, 3, 4, 5]] * 99 + [[2, 25, 20, 18]], np.int32)
    how, seen = Augmentation((8, 8, 8), foreground_fraction=1.0), []
    for seed in range(300):
        patch = cut(image, draw_view((30, 28, 26), rng(seed), how, foreground=foreground), how.patch)
        holds = [bool((patch == image[(0, *row[1:])]).any()) for row in foreground[-2:]]
        assert sum(holds) == 1
        seen.append(holds.index(True))
    assert 110 < sum(seen) < 190


def test_foreground_crops_are_jittered_and_stay_inside_the_scan() -> None:
    source = rng(8)
    starts = {draw_crop((30, 30, 30), (8, 8, 8), source, center=(1, 15, 29)) for _ in range(200)}
    assert {start[0] for start in starts} == {0}
    assert {start[1] for start in starts} == {9, 10, 11, 12, 13}
    assert {start[2] for start in starts} == {22}


def test_the_foreground_fraction_is_a_probability() -> None:
    how, corner = Augmentation((4, 4, 4), foreground_fraction=0.3), np.array([[1, 0, 0, 0]])
    hits = 0
    for seed in range(2000):
        view = draw_view((64, 64, 64), rng(seed), how, foreground=corner)
        hits += int(view.start == draw_crop((64, 64, 64), (4, 4, 4), rng(0), center=_corner(view.turn)))
    assert 0.26 < hits / 2000 < 0.34


def _corner(turn: Turn) -> tuple[int, ...]:
    return turned_position((0, 0, 0), (64, 64, 64), turn)


def test_a_case_without_foreground_is_cropped_uniformly() -> None:
    view = draw_view((9, 9, 9), rng(), Augmentation((4, 4, 4), foreground_fraction=1.0), foreground=np.empty((0, 4)))
    assert all(0 <= start <= 5 for start in view.start)


def test_an_unknown_kind_names_the_nearest() -> None:
    require_kind("strong")
    with pytest.raises(UsageError, match="weak"):
        require_kind("weka")
