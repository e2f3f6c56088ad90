"""Memory that one case takes while it is prepared."""

from __future__ import annotations

import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from semivox.data.case_writer import WriteJob, inspect_case, write_case
from semivox.data.cases import CaseFiles
from semivox.imaging.plan import ChannelPlan, Plan

SHAPE = (160, 150, 140)


def plan_of(scheme: str, dimensions: int) -> Plan:
    channel = ChannelPlan(name="MR", scheme=scheme, mean=0.0, std=2.0, percentile_00_5=-9.0, percentile_99_5=9.0)
    return Plan(recipe="auto", dimensions=dimensions, channels=(channel,), class_names=("background", "organ"),
                spacing_mm=None, spacing_known=True, patch_size=(16, 16, 16 if dimensions == 3 else 1),
                labeled_per_batch=1, unlabeled_per_batch=1, network="vnet")


@pytest.mark.parametrize(("scheme", "dimensions"),
                         [("zscore", 3), ("ct", 3), ("minmax", 3), ("none", 3), ("zscore", 2)])
def test_preparing_a_case_on_its_own_grid_takes_less_than_two_volumes(tmp_path, scheme, dimensions):
    rng = np.random.default_rng(0)
    files = [tmp_path / "image.nii", tmp_path / "label.nii"]
    image = (200 * rng.random(SHAPE)).astype(np.int16)
    for path, array in zip(files, (image, (image > 180).astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    case = CaseFiles(name="c1", images=(files[0],), label=files[1], role="train")
    volume = 4 * image.size
    del image, array
    job = WriteJob(case, plan_of(scheme, dimensions), inspect_case(case).digests, tmp_path / "store")
    tracemalloc.start()
    try:
        write_case(job)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume < peak < 2 * volume
