from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semivox.imaging.geometry import Geometry, max_corner_distance_mm, orientation_of, rounding_mm, to_lps

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ALL_48 = [(axes, signs) for axes in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)]


def signed_permutation(axes, signs) -> tuple[float, ...]:
    matrix = np.zeros((3, 3))
    for array_axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[world, array_axis] = sign
    return tuple(matrix.ravel().tolist())


def test_affine_of_a_plain_grid_is_written_out_by_hand():
    geometry = Geometry((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), IDENTITY)
    assert np.array_equal(geometry.affine_lps, [[1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert np.array_equal(geometry.affine_ras, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])


def test_affine_round_trip(oblique):
    again = Geometry.from_affine_ras(oblique.affine_ras)
    assert np.allclose(again.spacing_mm, oblique.spacing_mm, atol=1e-12)
    assert np.allclose(again.direction, oblique.direction, atol=1e-12)
    assert again.origin_mm == oblique.origin_mm


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_every_axis_aligned_orientation_turns_to_lps_and_back_exactly(axes, signs):
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    geometry = Geometry((0.5, 1.5, 2.5), (1.0, 2.0, 3.0), signed_permutation(axes, signs))
    turned, lps, orientation = to_lps(array, geometry)
    assert np.array_equal(orientation.undo(turned), array)
    assert lps.direction == IDENTITY
    assert np.array_equal(orientation.undo(turned[0]), array[0])
    for index in product(*((0, size - 1) for size in turned.shape[1:])):  # each corner stays where it was
        source = np.argwhere(array[0] == turned[0][index])[0]
        assert np.allclose(lps.affine_lps @ [*index, 1], geometry.affine_lps @ [*source, 1])


def test_turning_finds_the_nearest_axes_of_an_oblique_grid(oblique):
    _, lps, _ = to_lps(np.zeros((3, 4, 5)), oblique)
    matrix = np.reshape(lps.direction, (3, 3))
    assert orientation_of(lps) == ((0, 1, 2), (False, False, False))
    assert (np.diag(matrix) > 0).all()


def test_spacing_known_survives_the_turn():
    assert to_lps(np.zeros((2, 2, 2)), Geometry((1, 1, 1), (0, 0, 0), IDENTITY, False))[1].spacing_known is False


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_undo_is_exact_and_world_positions_are_kept_for_any_rotation(seed, shape):
    rng = np.random.default_rng(seed)
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    geometry = Geometry(tuple(rng.uniform(0.3, 5, 3)), tuple(rng.normal(0, 100, 3)), tuple(matrix.ravel()))
    array = rng.permutation(np.prod(shape)).reshape(shape)
    turned, lps, orientation = to_lps(array, geometry)
    assert np.array_equal(orientation.undo(turned), array)
    index = [rng.integers(size) for size in turned.shape]
    source = np.argwhere(array == turned[tuple(index)])[0]
    assert np.allclose(lps.affine_lps @ [*index, 1], geometry.affine_lps @ [*source, 1], atol=1e-9)


def test_corner_distance_of_a_shift_is_the_shift():
    a = Geometry((1, 1, 1), (0, 0, 0), IDENTITY)
    assert max_corner_distance_mm(a, a._replace(origin_mm=(3.0, 4.0, 0.0)), (5, 5, 5)) == 5.0


def test_corner_distance_of_another_spacing_grows_with_the_shape():
    a = Geometry((1, 1, 1), (0, 0, 0), IDENTITY)
    assert max_corner_distance_mm(a, a._replace(spacing_mm=(1.5, 1.0, 1.0)), (11, 5, 5)) == pytest.approx(5.0)


@pytest.mark.parametrize(("spacing", "expected"), [((0.5, 2.0, 3.0), 0.005), ((0.05, 1.0, 1.0), 0.001)])
def test_grids_may_differ_by_what_formats_round(spacing, expected):
    grid = Geometry(spacing, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    assert rounding_mm(grid) == pytest.approx(expected)
