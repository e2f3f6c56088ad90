from __future__ import annotations

import nibabel
import numpy as np

from semivox.imaging.files import read_image, read_label


def save(path, array, *, slope: float | None = None):
    image = nibabel.Nifti1Image(array, np.eye(4), dtype=array.dtype)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    image.to_filename(path)
    return path


def ball() -> np.ndarray:
    grid = np.meshgrid(*[np.arange(16) - 7.5] * 3, indexing="ij")
    return (sum(axis**2 for axis in grid) < 30).astype(np.float32)


def test_nan_and_infinite_voxels_are_counted(tmp_path, refused):
    array = np.zeros((10, 10, 10), np.float32)
    array[0, 0, :3] = np.nan
    array[5, 5, 5] = np.inf
    array[6, 5, 5] = -np.inf
    path = save(tmp_path / "x.nii", array)
    refused(read_image, path, "I18", "3 voxels are NaN and 2 infinite (0.5 %)")
    refused(read_label, path, "I18", "3 voxels are NaN and 2 infinite (0.5 %)")


def test_infinities_of_both_signs_do_not_hide_each_other(tmp_path, refused):
    array = np.zeros((4, 4, 4), np.float32)
    array[0, 0, 0], array[1, 0, 0] = np.inf, -np.inf
    refused(read_image, save(tmp_path / "x.nii", array), "I18", "2 infinite")


def test_voxels_beyond_float32_are_refused(tmp_path, refused):
    array = np.zeros((4, 4, 4), np.float64)
    array[1, 1, 1] = 1e300
    refused(read_image, save(tmp_path / "x.nii", array), "I13", "1 voxels are beyond the range")


def test_float_labels_near_whole_numbers_are_rounded_and_noted(tmp_path):
    array = ball() * 2
    array[array == 2] = 1.9999999
    array[0, 0, 0] = 1.00000002
    array[0, 0, 1] = 0.9995
    scan = read_label(save(tmp_path / "x.nii", array))
    assert scan.array.dtype == np.uint8
    assert np.array_equal(np.unique(scan.array), [0, 1, 2])
    assert scan.array[0, 0, 1] == 1
    assert "rounded" in scan.notes[0]


def test_exact_float_labels_give_no_note(tmp_path):
    scan = read_label(save(tmp_path / "x.nii", ball()))
    assert scan.notes == ()
    assert np.array_equal(scan.array, ball())


def test_a_few_odd_values_are_refused(tmp_path, refused):
    array = ball()
    array[8, 8, 8] = 0.4
    refused(read_label, save(tmp_path / "x.nii", array), "I30", "1 values that are not whole numbers")


def test_linearly_interpolated_labels_are_recognized(tmp_path, refused):
    array = (ball()[:-1] + ball()[1:]) / 2
    refused(read_label, save(tmp_path / "x.nii", array), "I33", "looks linearly interpolated")


def test_negative_and_too_large_labels_are_refused(tmp_path, refused):
    for value, dtype in ((-1, np.int16), (-3, np.float32), (70000, np.int32), (70000, np.float64), (2**40, np.int64)):
        array = np.zeros((4, 4, 4), dtype)
        array[1, 2, 3] = value
        refused(read_label, save(tmp_path / "x.nii", array), "I31", str(value))


def test_labels_above_255_are_uint16(tmp_path):
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = 300
    scan = read_label(save(tmp_path / "x.nii", array))
    assert scan.array.dtype == np.uint16
    assert scan.array[1, 2, 3] == 300
