from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from semivox.imaging.resample import resample_image, resample_label, resample_probabilities, shape_for_spacing

SHAPES = [((12, 10, 8), (24, 20, 16)), ((12, 10, 8), (7, 6, 5)), ((12, 10, 8), (12, 17, 5)), ((9, 9, 2), (9, 14, 7)),
          ((1, 5, 6), (3, 5, 4)), ((3, 3, 3), (8, 2, 1))]


def itk_resample(array: np.ndarray, shape, interpolator) -> np.ndarray:
    """The definition: equal extent, origin moved by half a voxel."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = [old / new for old, new in zip(array.shape, shape, strict=True)]
    origin = [(value - 1) / 2 for value in spacing]
    result = SimpleITK.Resample(image, [int(n) for n in shape], SimpleITK.Transform(), interpolator, origin, spacing)
    return SimpleITK.GetArrayFromImage(result).T


def ball(shape, radius, center=None) -> np.ndarray:
    center = [(n - 1) / 2 for n in shape] if center is None else center
    grid = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, center, strict=True)), indexing="ij")
    return sum(axis**2 for axis in grid) <= radius**2


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_shape_for_spacing_fills_the_extent():
    assert shape_for_spacing((100, 50, 20), (1.0, 1.0, 5.0), (2.0, 0.5, 1.0)) == (50, 100, 100)
    assert shape_for_spacing((3, 3, 3), (1.0, 1.0, 1.0), (10.0, 1.0, 1.0)) == (1, 3, 3)


@pytest.mark.parametrize("target", [(24, 20, 16), (7, 6, 5), (12, 17, 5), (6, 10, 8)])
def test_images_equal_the_cubic_spline_of_simpleitk_at_every_voxel(target):
    array = np.random.default_rng(0).normal(size=(12, 10, 8)).astype(np.float32)
    expected = itk_resample(array, target, SimpleITK.sitkBSpline)
    assert np.abs(resample_image(array, target) - expected).max() < 1e-4


@pytest.mark.parametrize("target", [(24, 20, 16), (7, 6, 5), (12, 17, 5)])
def test_linear_shares_equal_simpleitk(target):
    array = np.random.default_rng(1).random((12, 10, 8)).astype(np.float32)
    other = itk_resample(array, target, SimpleITK.sitkLinear)
    labels = resample_probabilities([np.full(array.shape, 0.5, np.float32), array], target)
    clear = np.abs(other - 0.5) > 1e-5
    assert np.array_equal(labels[clear], (other > 0.5)[clear])


@pytest.mark.parametrize(("source", "target"), SHAPES)
@pytest.mark.parametrize("axis", [None, 2])
def test_constants_stay_constant(source, target, axis):
    result = resample_image(np.full(source, 37.5, np.float32), target, anisotropic_axis=axis)
    assert result.shape == target
    assert result.dtype == np.float32
    assert np.abs(result - 37.5).max() < 1e-4


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5, 2])
def test_a_linear_ramp_is_preserved_in_the_interior(factor):
    source = np.broadcast_to(np.arange(32, dtype=np.float32)[:, None, None], (32, 4, 4)).copy()
    size = round(32 * factor)
    result = resample_image(source, (size, 4, 4))[:, 2, 2]
    expected = (np.arange(size) + 0.5) * 32 / size - 0.5
    inside = (expected > 8) & (expected < 23)
    assert np.abs(result - expected)[inside].max() < 1e-3


def test_an_unchanged_shape_returns_the_same_voxels_bit_for_bit():
    array = np.random.default_rng(2).normal(size=(5, 6, 7)).astype(np.float32)
    assert np.array_equal(resample_image(array, array.shape), array)
    labels = (array > 0).astype(np.uint8)
    assert np.array_equal(resample_label(labels, labels.shape, 2), labels)


def test_an_unchanged_axis_does_not_mix_its_planes():
    array = np.random.default_rng(3).normal(size=(8, 8, 5)).astype(np.float32)
    changed = array.copy()
    changed[..., 2] += 100
    before, after = resample_image(array, (13, 11, 5)), resample_image(changed, (13, 11, 5))
    assert np.array_equal(before[..., [0, 1, 3, 4]], after[..., [0, 1, 3, 4]])


def test_the_anisotropic_axis_does_not_ring():
    array = np.zeros((6, 6, 8), np.float32)
    array[..., 4:] = 1
    assert resample_image(array, (6, 6, 32)).max() > 1.01
    linear = resample_image(array, (6, 6, 32), anisotropic_axis=2)
    assert linear.min() >= -1e-6
    assert linear.max() <= 1 + 1e-6


def test_flipped_views_are_accepted():
    array = np.random.default_rng(4).normal(size=(6, 7, 8)).astype(np.float32)
    view = np.flip(array.transpose(2, 0, 1), axis=(0, 2))
    assert np.array_equal(resample_image(view, (5, 9, 9)), resample_image(np.ascontiguousarray(view), (5, 9, 9)))


@pytest.mark.parametrize("target", [(96, 96, 96), (30, 30, 30), (48, 72, 24), (24, 24, 24), (50, 31, 44)])
def test_the_volume_of_a_ball_is_preserved_within_three_percent(target):
    labels = ball((48, 48, 48), 17).astype(np.uint8)
    result = resample_label(labels, target, 2)
    share = result.mean(dtype=np.float64) / labels.mean(dtype=np.float64)
    assert abs(share - 1) < 0.03


def test_labels_never_gain_values_and_keep_their_type():
    labels = np.zeros((20, 20, 20), np.uint16)
    labels[4:10, 4:10, 4:10] = 2
    labels[10:16, 4:10, 4:10] = 300
    result = resample_label(labels, (33, 27, 41), 301)
    assert result.dtype == np.uint16
    assert set(np.unique(result)) == {0, 2, 300}


def test_neighboring_classes_do_not_leave_background_between_them():
    labels = np.ones((16, 8, 8), np.uint8)
    labels[8:] = 2
    result = resample_label(labels, (31, 13, 13), 3)
    assert set(np.unique(result)) == {1, 2}
    assert (np.diff(result.astype(int), axis=0) >= 0).all()


def test_halving_favors_neither_side_of_a_border():
    labels = np.zeros((12, 4, 4), np.uint8)
    labels[3:9] = 1  # both borders fall into the middle of a new voxel
    assert resample_label(labels, (6, 4, 4), 2).sum() * 2 == labels.sum()
    assert (1 - resample_label(1 - labels, (6, 4, 4), 2)).sum() * 2 == labels.sum()


def test_label_equals_linear_interpolation_of_each_class_and_argmax():
    labels = np.random.default_rng(5).integers(0, 4, (9, 8, 7)).astype(np.uint8)
    target = (13, 5, 10)
    shares = np.stack([itk_resample((labels == k).astype(np.float32), target, SimpleITK.sitkLinear) for k in range(4)])
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 2e-3
    assert clear.mean() > 0.8
    assert np.array_equal(resample_label(labels, target, 4)[clear], shares.argmax(axis=0)[clear])


def test_a_mask_survives_the_way_up_and_down():
    mask = ball((30, 28, 26), 9)
    up = resample_label(mask.astype(np.uint8), (47, 51, 39), 2)
    assert dice(resample_label(up, (30, 28, 26), 2) > 0, mask) > 0.97


def test_probabilities_are_taken_one_class_at_a_time():
    rng = np.random.default_rng(6)
    probabilities = rng.random((3, 6, 6, 6)).astype(np.float32)
    alive = []

    def one_by_one():
        for probability in probabilities:
            alive.append(1)
            yield probability

    assert np.array_equal(resample_probabilities(one_by_one(), (6, 6, 6)), probabilities.argmax(axis=0))
    assert len(alive) == 3
    assert resample_probabilities(probabilities, (6, 6, 6)).dtype == np.uint8


def test_more_than_256_classes_give_uint16():
    probabilities = (np.full((2, 2, 2), k == 280, np.float32) for k in range(300))
    result = resample_probabilities(probabilities, (3, 3, 3))
    assert result.dtype == np.uint16
    assert (result == 280).all()


def test_probabilities_are_not_changed_by_resampling_them():
    probabilities = np.random.default_rng(7).random((2, 4, 4, 4)).astype(np.float32)
    before = probabilities.copy()
    resample_probabilities(probabilities, (4, 4, 4))
    assert np.array_equal(probabilities, before)
