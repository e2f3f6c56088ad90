from __future__ import annotations

import nibabel
import numpy as np
import pytest

from semivox.errors import InputError
from semivox.imaging.files import read_header, read_image, read_label, verify_complete

TYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
ROTATED = np.array([[0, -2, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])


def save(path, array=None, *, affine=ROTATED, version=nibabel.Nifti1Image, order="<", fields=None):
    """Write a NIfTI file, then put raw values into its header behind nibabel's back."""
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) if array is None else array
    image = version(array, affine, version.header_class(endianness=order), dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, dtype=image.header.template_dtype.newbyteorder(order), count=1)
    for name, value in (fields or {}).items():
        field, _, index = name.partition(".")
        if index:
            header[field][0][int(index)] = value
        else:
            header[field] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_number_type_byte_order_and_version_reads_as_nibabel_does(tmp_path, dtype, order, version):
    array = (np.random.default_rng(0).normal(60, 20, (4, 5, 6))).astype(dtype)
    path = save(tmp_path / "x.nii", array, version=version, order=order)
    scan, reference = read_image(path), nibabel.load(path)
    assert np.array_equal(scan.array, np.asarray(reference.dataobj).astype(np.float32))
    assert np.allclose(scan.geometry.affine_ras, reference.affine)
    assert read_header(path).dtype == dtype


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -1024.0), (0.003, 0.5), (-1.0, 0.0), (1.0, 10.0)])
def test_scaling_is_applied(tmp_path, slope, intercept):
    path = save(tmp_path / "x.nii", fields={"scl_slope": slope, "scl_inter": intercept})
    expected = np.asarray(nibabel.load(path).dataobj)
    assert np.allclose(read_image(path).array, expected, rtol=1e-6)
    assert np.array_equal(nibabel.load(path).get_fdata(), expected)


def test_slope_zero_means_no_scaling(tmp_path):
    scan = read_image(save(tmp_path / "x.nii", fields={"scl_slope": 0.0, "scl_inter": 5.0}))
    assert scan.array.max() == 119


def test_scaling_of_large_integers_is_done_in_double_precision(tmp_path):
    array = np.full((2, 2, 2), 2**30 + 1, np.int32)
    path = save(tmp_path / "x.nii", array, fields={"scl_slope": 1.0, "scl_inter": -float(2**30)})
    assert (read_image(path).array == 1).all()


def test_scaled_integer_labels_are_read(tmp_path):
    path = save(tmp_path / "x.nii", np.ones((3, 3, 3), np.uint8), fields={"scl_slope": 2.0, "scl_inter": 1.0})
    assert (read_label(path).array == 3).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_qform_alone_is_read_as_nibabel_does(tmp_path, seed):
    rng = np.random.default_rng(seed)
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = matrix * rng.uniform(0.3, 4, 3)
    affine[:3, 3] = rng.normal(0, 50, 3)
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    image.to_filename(tmp_path / "x.nii")
    assert np.allclose(read_header(tmp_path / "x.nii").geometry.affine_ras, affine, atol=1e-4)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 0.05, 0.2, 1.0])
def test_rounding_of_quaternions_near_half_turns_is_no_disagreement(tmp_path, degrees):
    rng = np.random.default_rng(0)
    for index in range(20):
        axis = rng.normal(size=3) if index else np.array([0.0, 0.0, 1.0])
        angle = np.pi - np.radians(degrees)
        x, y, z = axis / np.linalg.norm(axis)
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        affine = np.eye(4)
        affine[:3, :3] = 0.9 * (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
        affine[:3, 3] = rng.normal(0, 200, 3)
        large = {"dim.1": 512, "dim.2": 512, "dim.3": 512, "qform_code": 1}
        path = save(tmp_path / "x.nii", np.zeros((2, 2, 2), np.int8), affine=affine, fields=large)
        assert np.allclose(read_header(path).geometry.affine_ras, affine, atol=1e-4)


def test_half_turns_in_the_qform_are_read(tmp_path):
    path = save(tmp_path / "x.nii", affine=np.diag([-1.0, -1, 1, 1]))
    header = read_header(save(path, affine=np.diag([-1.0, -1, 1, 1]), fields={"sform_code": 0, "qform_code": 1}))
    assert header.geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_without_orientation_ras_is_assumed_and_noted(tmp_path):
    header = read_header(save(tmp_path / "x.nii", fields={"sform_code": 0, "qform_code": 0}))
    assert np.allclose(header.geometry.affine_ras, np.diag([1.5, 2.0, 3.0, 1.0]))
    assert "RAS is assumed" in header.notes[0]


@pytest.mark.parametrize(("units", "factor"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (10, 1.0)])
def test_units_are_brought_to_millimeters(tmp_path, units, factor):
    header = read_header(save(tmp_path / "x.nii", fields={"xyzt_units": units}))
    assert np.allclose(header.geometry.spacing_mm, np.array([1.5, 2, 3]) * factor)
    assert np.allclose(header.geometry.origin_mm, np.array([-5, -6, 7]) * factor)


def test_pixdim_that_differs_from_the_sform_is_noted(tmp_path):
    header = read_header(save(tmp_path / "x.nii", fields={"pixdim.1": 9.0, "qform_code": 0}))
    assert np.allclose(header.geometry.spacing_mm, (1.5, 2.0, 3.0))
    assert "pixdim" in header.notes[0]


def test_trailing_axes_of_size_one_are_removed_and_noted(tmp_path):
    scan = read_image(save(tmp_path / "x.nii", np.ones((4, 5, 6, 1, 1), np.float32)))
    assert scan.array.shape == (4, 5, 6)
    assert "4 x 5 x 6 x 1 x 1" in scan.notes[0]


def test_an_extension_flag_without_extension_is_accepted(tmp_path):
    path = save(tmp_path / "x.nii")
    content = bytearray(path.read_bytes())
    content[348] = 1
    path.write_bytes(content)
    assert read_image(path).array.max() == 119


def test_an_extension_is_skipped(tmp_path):
    image = nibabel.Nifti1Image(np.full((3, 3, 3), 7, np.int16), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"text" * 20))
    image.to_filename(tmp_path / "x.nii.gz")
    assert (read_image(tmp_path / "x.nii.gz").array == 7).all()


NAN, INF = float("nan"), float("inf")
BAD = [
    ({"dim.0": 0}, "I6", ("0 dimensions",)),
    ({"dim.0": 8}, "I6", ("8 dimensions",)),
    ({"dim.0": -1}, "I6", ()),
    ({"dim.1": 0}, "I6", ("0 x 5 x 6",)),
    ({"dim.2": -32}, "I6", ("4 x -32 x 6",)),
    ({"dim.1": 32767, "dim.2": 32767, "dim.3": 32767}, "I7", ("would need 140,724.6 GB", "limit is 8 GB")),
    ({"pixdim.1": 0.0}, "I8", ("spacing 0",)),
    ({"pixdim.2": NAN}, "I9", ("nan",)),
    ({"pixdim.3": INF}, "I9", ("inf",)),
    ({"pixdim.1": -1.5}, "I9", ("-1.5",)),
    ({"pixdim.1": 1e-9}, "I9", ("1e-09",)),
    ({"pixdim.1": 1e6}, "I9", ("1e+06",)),
    ({"srow_x.1": NAN}, "I10", ("sform holds NaN",)),
    ({"srow_x.3": INF}, "I10", ("sform holds NaN or infinity",)),
    ({"srow_x.1": 0.0}, "I10", ("singular",)),
    ({"srow_z.0": 1.0}, "I10", ("sheared",)),
    ({"srow_x.3": 1e20}, "I10", ("mm away",)),
    ({"qform_code": 1, "sform_code": 0, "quatern_b": 5.0}, "I10", ("quaternion",)),
    ({"qform_code": 1, "sform_code": 0, "quatern_b": NAN}, "I10", ("quaternion",)),
    ({"qform_code": 1, "qoffset_x": 5.5}, "I11", ("0.5 mm",)),
    ({"qform_code": 1, "quatern_b": 1.0, "quatern_c": 0.0, "quatern_d": 0.0}, "I11", ("axes point elsewhere",)),
    ({"scl_slope": NAN}, "I13", ("scl_slope is nan",)),
    ({"scl_slope": 1.0, "scl_inter": INF}, "I13", ("inf",)),
    ({"vox_offset": NAN}, "I14", ("nan",)),
    ({"vox_offset": 100.0}, "I14", ("100", "352")),
    ({"vox_offset": -352.0}, "I14", ()),
    ({"vox_offset": 352.5}, "I14", ()),
    ({"vox_offset": 1e30}, "I14", ()),
    ({"datatype": 128, "bitpix": 24}, "I15", ("RGB24",)),
    ({"datatype": 32, "bitpix": 64}, "I15", ("complex64",)),
    ({"datatype": 1536, "bitpix": 128}, "I15", ("float128",)),
    ({"datatype": 77}, "I15", ("unknown (code 77)",)),
    ({"bitpix": 8}, "I15", ("8 bits",)),
    ({"dim.0": 4, "dim.4": 3}, "I16", ("4 x 5 x 6 x 3",)),
    ({"dim.0": 2}, "I17", ("single slice",)),
    ({"dim.3": 1}, "I17", ("single slice",)),
    ({"magic": b"ni1"}, "I25", ("pair",)),
    ({"magic": b"xyz"}, "I5", ("magic",)),
]


@pytest.mark.parametrize(("fields", "code", "words"), BAD)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_bad_header_fields_are_refused(tmp_path, refused, fields, code, words, ending):
    import gzip

    path = save(tmp_path / "x.nii", fields=fields)
    if ending == ".nii.gz":
        packed = tmp_path / "x.nii.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    for read in (read_image, read_label, read_header, verify_complete):
        refused(read, path, code, *words)


def test_voxels_beyond_the_file_are_refused(tmp_path, refused):
    refused(read_image, save(tmp_path / "x.nii", fields={"vox_offset": 1e5}), "I1", "expected 240 voxel bytes")


def test_the_spacing_hint_of_the_refusal_is_a_file_edit_not_an_option(tmp_path):
    with pytest.raises(InputError) as caught:
        read_header(save(tmp_path / "x.nii", fields={"pixdim.1": 0.0}))
    assert "pixdim" in caught.value.fix
    assert "--" not in caught.value.fix


def test_rounding_between_sform_and_qform_is_accepted(tmp_path):
    path = save(tmp_path / "x.nii", fields={"qform_code": 1, "qoffset_x": 5.005})
    assert read_header(path).geometry.origin_mm[0] == -5.0
