"""Recipes: the literature's choices as published, and ``auto`` from the scans."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.data.fingerprint import CaseGrid, ChannelStatistics, Fingerprint
from semivox.data.planning import (
    CPU_VOXELS,
    MAX_VOXELS,
    MIN_VOXELS,
    RECIPES,
    fit_patch,
    machine_voxels,
    make_plan,
    median_shape,
    target_spacing,
    voxels_for_memory,
)
from semivox.errors import UsageError
from semivox.imaging.plan import plan_from_json, plan_to_json
from semivox.networks import required_multiple

NAMES = ("background", "organ", "vessel", "tumor")


def fingerprint(shapes, spacings, channels=("MR",), known=True) -> Fingerprint:
    places = enumerate(zip(shapes, spacings, strict=True))
    grids = [CaseGrid(f"c{i}", shape, spacing, known) for i, (shape, spacing) in places]
    numbers = [ChannelStatistics(name, 1.0, 2.0, -3.0, 1.0, 5.0, -9.0, 9.0) for name in channels]
    return Fingerprint(tuple(grids), tuple(numbers))


LA = fingerprint([(200, 150, 88)] * 3, [(0.625, 0.625, 0.625)] * 3)


def test_recipe_la_is_the_protocol_of_the_literature():
    plan = make_plan(LA, "la", class_names=NAMES[:2], memory_gb=1)
    assert (plan.patch_size, plan.strides, plan.window) == ((112, 112, 80), (18, 18, 4), "uniform")
    assert (plan.spacing_mm, plan.channels[0].scheme, plan.network, plan.dimensions) == (None, "none", "vnet", 3)
    assert (plan.labeled_per_batch, plan.unlabeled_per_batch) == (2, 2)


def test_recipe_la_half_is_the_protocol_at_half_resolution():
    plan = make_plan(LA, "la_half", class_names=NAMES[:2])
    assert (plan.patch_size, plan.strides, plan.window) == ((64, 64, 32), (16, 16, 8), "uniform")
    assert (plan.spacing_mm, plan.channels[0].scheme) == (None, "none")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_a_plan_that_survives_json(recipe):
    plan = make_plan(LA, recipe, class_names=NAMES)
    assert plan_from_json(plan_to_json(plan)) == plan
    assert plan.recipe == recipe
    assert plan.classes == 4


def test_unknown_recipe_names_the_near_one():
    with pytest.raises(UsageError, match="did you mean 'la_half'"):
        make_plan(LA, "lahalf", class_names=NAMES)


def test_auto_takes_the_median_spacing_of_alike_scans():
    cases = fingerprint([(100, 100, 80)] * 3, [(0.8, 0.8, 1.0), (1.0, 1.0, 1.0), (1.2, 1.2, 1.5)])
    assert target_spacing(cases) == (1.0, 1.0, 1.0)


def test_auto_takes_the_10th_percentile_of_a_thick_axis():
    spacings = [(0.5, 0.5, z) for z in (2.0, 5.0, 5.0, 5.0, 5.0, 6.0)]
    cases = fingerprint([(512, 512, 40)] * 6, spacings)
    assert target_spacing(cases) == (0.5, 0.5, pytest.approx(np.percentile([2, 5, 5, 5, 5, 6], 10)))


def test_auto_never_makes_the_thick_axis_finer_than_the_others():
    cases = fingerprint([(512, 512, 30)] * 4, [(1.0, 1.0, z) for z in (0.2, 0.2, 5.0, 5.0)])
    assert target_spacing(cases)[2] >= 1.0 - 1e-9


def test_auto_does_not_resample_when_a_spacing_is_unknown():
    plan = make_plan(fingerprint([(64, 64, 64)], [(1.0, 1.0, 1.0)], known=False), "auto", class_names=NAMES)
    assert plan.spacing_mm is None
    assert plan.spacing_known is False


def test_auto_normalizes_by_modality():
    cases = fingerprint([(128, 128, 128)], [(1.0, 1.0, 1.0)], channels=("CT", "PET", "T1"))
    plan = make_plan(cases, "auto", class_names=NAMES)
    assert [channel.scheme for channel in plan.channels] == ["ct", "zscore", "zscore"]
    assert (plan.channels[0].mean, plan.channels[0].std) == (1.0, 2.0)
    assert (plan.channels[0].percentile_00_5, plan.channels[0].percentile_99_5) == (-3.0, 5.0)


@pytest.mark.parametrize("shape", [(512, 512, 300), (200, 150, 88), (60, 500, 500), (33, 47, 20), (512, 512, 24)])
@pytest.mark.parametrize("memory_gb", [2.0, 8.0, 80.0])
def test_auto_patches_fit_network_and_memory(shape, memory_gb):
    plan = make_plan(fingerprint([shape], [(1.0, 1.0, 1.0)]), "auto", class_names=NAMES, memory_gb=memory_gb)
    assert all(side % required_multiple(plan.network) == 0 for side in plan.patch_size)
    assert np.prod(plan.patch_size) <= voxels_for_memory(memory_gb)
    assert all(side < size + 16 for side, size in zip(plan.patch_size, shape, strict=True))


def test_auto_uses_what_memory_allows_for_large_scans():
    for memory_gb in (2.0, 80.0):
        voxels = voxels_for_memory(memory_gb)
        scans = fingerprint([(512, 512, 300)], [(0.8, 0.8, 0.8)])
        plan = make_plan(scans, "auto", class_names=NAMES, memory_gb=memory_gb)
        assert 0.7 * voxels < np.prod(plan.patch_size) <= voxels
        assert plan.patch_size[0] > plan.patch_size[2]


def test_memory_limits_lie_between_the_smallest_and_the_largest_patch():
    assert voxels_for_memory(0.1) == MIN_VOXELS
    assert voxels_for_memory(1000) == MAX_VOXELS
    assert MIN_VOXELS < voxels_for_memory(4) < MAX_VOXELS
    assert MIN_VOXELS <= machine_voxels() <= MAX_VOXELS


def test_without_a_gpu_the_time_of_a_step_limits_the_patch(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert machine_voxels() <= CPU_VOXELS


def test_a_gpu_is_found_without_torch(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 81559\necho 24564\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_voxels() == voxels_for_memory(24564 * 2**20 / 1e9) > CPU_VOXELS
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine_voxels() <= CPU_VOXELS


def test_few_thick_slices_are_planned_slice_by_slice():
    cases = fingerprint([(256, 216, 10)] * 3, [(1.4, 1.4, 10.0)] * 3)
    plan = make_plan(cases, "auto", class_names=NAMES)
    assert (plan.dimensions, plan.network, plan.patch_size) == (2, "unet2d", (256, 224, 1))


@pytest.mark.parametrize(("shape", "spacing"), [((256, 216, 40), (1.4, 1.4, 10.0)), ((256, 216, 10), (1.4, 1.4, 2.0)),
                                                ((10, 256, 216), (10.0, 1.4, 1.4))])
def test_other_scans_are_planned_in_3d(shape, spacing):
    assert make_plan(fingerprint([shape], [spacing]), "auto", class_names=NAMES).dimensions == 3


def test_median_shape_is_that_after_resampling():
    cases = fingerprint([(100, 100, 50)], [(1.0, 1.0, 2.0)])
    assert median_shape(cases, (2.0, 1.0, 1.0)) == (50, 100, 100)
    assert median_shape(cases, None) == (100, 100, 50)


def test_patches_keep_the_proportions_of_the_scan():
    assert fit_patch((512, 512, 32), 2**20, multiple=16) == (256, 256, 16)
    assert fit_patch((20, 20, 20), 1, multiple=16) == (16, 16, 16)
