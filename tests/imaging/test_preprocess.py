from __future__ import annotations

import numpy as np
import pytest

from semivox.errors import InputError
from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.imaging.preprocess import anisotropic_axis, check_same_grid, prepare_case

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((1.0, 1.0, 2.0), (0.0, 0.0, 0.0), IDENTITY)
ARRAY = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)


def make_plan(*schemes: str, spacing_mm=None, classes: int = 2) -> Plan:
    channels = tuple(ChannelPlan(name=f"c{index}", scheme=scheme, mean=0.0, std=2.0, percentile_00_5=-9.0,
                                 percentile_99_5=9.0) for index, scheme in enumerate(schemes or ("none",)))
    return Plan(recipe="auto", dimensions=3, channels=channels, class_names=tuple("abcdef"[:classes]),
                spacing_mm=spacing_mm, spacing_known=True, patch_size=(4, 4, 4), labeled_per_batch=1,
                unlabeled_per_batch=1, network="vnet")


def test_a_scan_on_its_own_lps_grid_is_left_alone():
    prepared = prepare_case([Scan(ARRAY, GRID)], Scan((ARRAY > 0).astype(np.uint8), GRID), make_plan())
    assert np.array_equal(prepared.image, ARRAY[None])
    assert np.array_equal(prepared.label, ARRAY > 0)
    assert prepared.image.flags.c_contiguous
    assert (prepared.source_shape, prepared.lps_shape) == (ARRAY.shape, ARRAY.shape)
    assert prepared.geometry == GRID


def test_scans_are_turned_to_lps_and_can_be_turned_back():
    turned = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    prepared = prepare_case([Scan(ARRAY, turned)], None, make_plan())
    assert prepared.image.shape == (1, 5, 8, 6)
    assert prepared.label is None
    assert np.array_equal(prepared.orientation.undo(prepared.image)[0], ARRAY)


def test_the_same_scan_stored_as_ras_or_lps_prepares_equally():
    flipped = Scan(ARRAY[::-1, ::-1], Geometry((1.0, 1.0, 2.0), (7.0, 5.0, 0.0), RAS))
    plan = make_plan("zscore", spacing_mm=(0.8, 1.3, 1.0))
    mask = (ARRAY > 0).astype(np.uint8)
    one = prepare_case([Scan(ARRAY, GRID)], Scan(mask, GRID), plan)
    other = prepare_case([flipped], Scan(mask[::-1, ::-1], flipped.geometry), plan)
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.label, other.label)


def test_resampling_reaches_the_plans_spacing_and_each_channel_is_normalized():
    scans = [Scan(ARRAY, GRID), Scan(ARRAY * 3 + 100, GRID)]
    labels = np.where(ARRAY > 0.5, 2, 0).astype(np.uint8)
    plan = make_plan("zscore", "minmax", spacing_mm=(0.5, 1.0, 1.0), classes=3)
    prepared = prepare_case(scans, Scan(labels, GRID), plan)
    assert prepared.image.shape == (2, 16, 6, 10)
    assert prepared.label.shape == (16, 6, 10)
    assert prepared.lps_shape == ARRAY.shape
    assert abs(prepared.image[0].mean()) < 1e-5
    assert (prepared.image[1].min(), prepared.image[1].max()) == (0, 1)
    assert set(np.unique(prepared.label)) <= {0, 2}


def test_a_scan_of_unknown_spacing_is_not_resampled():
    scan = Scan(ARRAY, GRID._replace(spacing_known=False))
    assert prepare_case([scan], None, make_plan(spacing_mm=(0.5, 0.5, 0.5))).image.shape == (1, *ARRAY.shape)


def test_the_sources_are_not_changed():
    image, label = ARRAY.copy(), (ARRAY > 0).astype(np.uint8)
    for plan in (make_plan("zscore"), make_plan("ct", spacing_mm=(2.0, 1.0, 1.0))):
        prepare_case([Scan(image, GRID)], Scan(label, GRID), plan)
    assert np.array_equal(image, ARRAY)
    assert np.array_equal(label, ARRAY > 0)


def test_the_number_of_channels_must_fit():
    with pytest.raises(InputError, match=r"D5  la_01: 1 image channels, the plan has 2 \(c0, c1\)"):
        prepare_case([Scan(ARRAY, GRID)], None, make_plan("none", "none"), case="la_01")


def test_another_shape_is_refused_with_both():
    with pytest.raises(InputError, match=r"I26  la_01: the label has shape 8 x 6 x 4, the image has 8 x 6 x 5"):
        prepare_case([Scan(ARRAY, GRID)], Scan(np.zeros((8, 6, 4), np.uint8), GRID), make_plan(), case="la_01")


def test_another_place_is_refused_with_the_distance():
    moved = Scan(np.zeros(ARRAY.shape, np.uint8), GRID._replace(origin_mm=(0.0, 3.0, 4.0)))
    with pytest.raises(InputError, match=r"I27  la_01: the label and image lie apart.* 5 mm"):
        prepare_case([Scan(ARRAY, GRID)], moved, make_plan(), case="la_01")
    with pytest.raises(InputError, match="I27  la_01: channel 1"):
        prepare_case([Scan(ARRAY, GRID), moved], None, make_plan("none", "none"), case="la_01")


def test_rounding_of_the_geometry_is_accepted():
    other = GRID._replace(origin_mm=(5e-4, 0.0, 0.0))
    check_same_grid(Scan(ARRAY, GRID), Scan(ARRAY, other), subject="x")


def test_undeclared_label_values_are_listed_with_their_counts():
    labels = np.zeros(ARRAY.shape, np.uint8)
    labels[0, 0, :3] = 255
    with pytest.raises(InputError, match=r"I31 .* 255 \(3 voxels\); declared are 0\.\.1"):
        prepare_case([Scan(ARRAY, GRID)], Scan(labels, GRID), make_plan())


def test_thick_slices_are_found():
    assert anisotropic_axis((1.0, 1.0, 2.9), (1.0, 1.0, 1.0)) is None
    assert anisotropic_axis((1.0, 1.0, 5.0), (1.0, 1.0, 1.0)) == 2
    assert anisotropic_axis((1.0, 1.0, 1.0), (6.0, 1.0, 1.0)) == 0
    assert anisotropic_axis((1.0, 1.0, 1.0), None) is None
