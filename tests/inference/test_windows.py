from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semivox.inference.windows import (
    Window,
    axis_importance,
    axis_weight_sum,
    padding,
    window_corners,
    window_importance,
    window_starts,
)


def test_starts_follow_the_literature_and_the_last_window_touches_the_end() -> None:
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(4, 4, 3) == [0]
    assert window_starts(6, 4, 1) == [0, 1, 2]


def test_la_scan_gets_the_published_number_of_windows() -> None:
    window = Window((112, 112, 80), (18, 18, 4))
    # ceil((132-112)/18)+1 = 3, ceil((151-112)/18)+1 = 4, ceil((88-80)/4)+1 = 3
    assert len(window_corners((132, 151, 88), window)) == 3 * 4 * 3


@given(size=st.integers(1, 60), patch=st.integers(1, 60), stride=st.integers(1, 80))
def test_windows_lie_inside_and_cover_every_voxel(size: int, patch: int, stride: int) -> None:
    size = max(size, patch)
    covered = np.zeros(size, bool)
    for start in window_starts(size, patch, stride):
        assert 0 <= start <= size - patch
        covered[start : start + patch] = True
    assert covered.all()


def test_corners_are_ordered_along_the_sweep_axis() -> None:
    corners = window_corners((8, 8, 9), Window((4, 4, 4), (2, 2, 2)), slowest_axis=2)
    assert [corner[2] for corner in corners] == sorted(corner[2] for corner in corners)
    assert len(set(corners)) == 3 * 3 * 4


def test_gaussian_is_symmetric_and_never_zero() -> None:
    weight = axis_importance(32, "gaussian")
    np.testing.assert_allclose(weight, weight[::-1])
    assert weight.max() == 1
    # exp(-x^2 / 2 sigma^2) with sigma = 4 at offsets 15.5 and 0.5, relative to the largest
    assert weight[0] == pytest.approx(np.exp(-(15.5**2 - 0.5**2) / 32), rel=1e-5)
    assert window_importance((64, 64, 32), "gaussian").min() > 0


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_product_of_axis_sums_is_the_sum_of_window_weights(kind: str) -> None:
    size, window = (9, 7, 5), Window((4, 3, 5), (3, 1, 2), kind)
    total = np.zeros(size)
    for x, y, z in window_corners(size, window):
        total[x : x + 4, y : y + 3, z : z + 5] += window_importance(window.patch_size, kind)
    sums = [axis_weight_sum(*sizes, kind=kind) for sizes in zip(size, window.patch_size, window.strides, strict=True)]
    np.testing.assert_allclose(sums[0][:, None, None] * sums[1][:, None] * sums[2], total, rtol=1e-5)


def test_padding_puts_the_odd_voxel_behind() -> None:
    assert padding((5, 8, 3), (8, 8, 4)) == ((1, 2), (0, 0), (0, 1))
