from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from torch import nn

from semivox.imaging.largest_component import largest_component
from semivox.imaging.plan import Plan
from semivox.inference.predictor import Predictor, keep_largest_components

WriteScan = Callable[[Path, np.ndarray, np.ndarray], None]
MakePlan = Callable[..., Plan]


def specks(shape: tuple[int, int, int] = (20, 18, 17)) -> np.ndarray:
    """Two classes in several pieces each."""
    labels = np.zeros(shape, np.float32)
    labels[2:9, 3:12, 2:9], labels[12:15, 3:7, 3:7], labels[17:19, 14:17, 13:15] = 1, 1, 1
    labels[10:18, 9:13, 8:12], labels[1:4, 14:17, 13:16] = 2, 2
    return labels


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize("wanted", [False, True])
def test_plan_decides_whether_specks_stay(wanted: bool, tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
                                          threshold_network: type[nn.Module]) -> None:
    scan, out = tmp_path / "x.nii.gz", tmp_path / "out" / "x.nii.gz"
    write_scan(scan, specks(), np.diag([-1.0, -1, 1, 1]))
    result = Predictor(threshold_network(3), make_plan(largest_component=wanted)).predict_case([scan], out)
    expected = largest_component(specks()) if wanted else specks()
    np.testing.assert_array_equal(voxels(out), expected)
    assert result.voxels["a"] == (expected == 1).sum()


def test_slices_are_filtered_as_one_volume(tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan,
                                           threshold_network: type[nn.Module]) -> None:
    scan, out = tmp_path / "x.nii.gz", tmp_path / "out" / "x.nii.gz"
    write_scan(scan, specks(), np.diag([-1.0, -1, 1, 1]))
    plan = make_plan(dimensions=2, patch_size=(16, 16, 1), strides=(8, 8, 1), largest_component=True)
    Predictor(threshold_network(3), plan).predict_case([scan], out)
    np.testing.assert_array_equal(voxels(out), largest_component(specks()))


def test_on_another_grid_the_specks_are_gone_too_and_probabilities_are_written_as_they_were(
    tmp_path: Path, make_plan: MakePlan, write_scan: WriteScan, threshold_network: type[nn.Module]
) -> None:
    scan = tmp_path / "x.nii.gz"
    # one class: between a 2 and a 0 interpolation makes a 1, which is no speck of the scan
    write_scan(scan, (specks() == 1).astype(np.float32), np.diag([-1.0, -1, 1, 1]))
    labels, foreground = {}, {}
    for wanted in (False, True):
        plan = make_plan(largest_component=wanted, spacing_mm=(0.8, 0.8, 0.8), class_names=("background", "a"))
        out = tmp_path / str(wanted) / "x.nii.gz"
        Predictor(threshold_network(2), plan).predict_case([scan], out, probabilities=True)
        labels[wanted], foreground[wanted] = voxels(out), voxels(out.parent / "probabilities" / "x_prob_1.nii.gz")
    np.testing.assert_array_equal(labels[True], largest_component(labels[False]))
    assert (labels[True] != labels[False]).any()
    np.testing.assert_array_equal(foreground[True], foreground[False])


def test_what_is_removed_is_certainly_background() -> None:
    labels = specks().astype(np.uint8)
    probabilities = np.random.default_rng(0).random((3, *labels.shape)).astype(np.float16)
    before = probabilities.copy()
    kept = keep_largest_components(labels, probabilities)
    removed = kept != labels
    assert removed.any()
    np.testing.assert_array_equal(probabilities[:, removed], np.array([[1.0], [0], [0]]) * np.ones(removed.sum()))
    np.testing.assert_array_equal(probabilities[:, ~removed], before[:, ~removed])
    np.testing.assert_array_equal(labels, specks())
