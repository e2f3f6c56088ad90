from __future__ import annotations

import gzip
import os
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semivox.errors import InputError, ResourceError
from semivox.imaging.files import (
    IMAGE_ENDINGS,
    count_channels,
    is_image_file,
    read_channels,
    read_header,
    read_image,
    read_label,
    split_ending,
    write_image,
    write_label,
)
from semivox.imaging.geometry import Geometry, max_corner_distance_mm

GEOMETRY = Geometry((0.5, 0.75, 2.0), (11.0, -7.0, 3.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("x_0000.nii.gz", ("x_0000", ".nii.gz")), ("x.nii", ("x", ".nii")), ("a.b.NRRD", ("a.b", ".nrrd")),
     ("x.mha", ("x", ".mha")), ("mri_norm2.h5", ("mri_norm2", ".h5")), ("x.gz", ("x.gz", "")), (".nii", (".nii", ""))],
)
def test_names_are_split_at_known_endings(name, parts):
    assert split_ending(name) == parts


def test_hidden_files_are_no_scans():
    assert is_image_file(Path("x.nii.gz"))
    assert not is_image_file(Path("._x.nii.gz"))
    assert not is_image_file(Path("x.txt"))


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_an_oblique_scan_survives_the_way_through_a_file(make_scan, volume, oblique, ending):
    path = make_scan(ending)
    scan = read_image(path)
    assert np.array_equal(scan.array, volume)
    assert scan.array.dtype == np.float32
    assert max_corner_distance_mm(scan.geometry, oblique, volume.shape) < 1e-4
    header = read_header(path)
    assert (header.shape, header.geometry, header.dtype) == (volume.shape, scan.geometry, "float32")


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_other_programs_read_what_we_write(make_scan, volume, oblique, ending):
    image = SimpleITK.ReadImage(str(make_scan(ending)))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, volume)
    assert np.allclose(image.GetSpacing(), oblique.spacing_mm, atol=1e-6)
    assert np.allclose(image.GetOrigin(), oblique.origin_mm, atol=1e-5)
    assert np.allclose(image.GetDirection(), oblique.direction, atol=1e-6)


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressed", [True, False])
def test_we_read_what_simpleitk_writes(tmp_path, oblique, ending, dtype, compressed):
    array = (np.random.default_rng(1).normal(60, 20, (4, 5, 6))).astype(dtype)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(oblique.spacing_mm)
    image.SetOrigin(oblique.origin_mm)
    image.SetDirection(oblique.direction)
    path = tmp_path / f"x{ending}"
    SimpleITK.WriteImage(image, str(path), compressed)
    scan = read_image(path)
    assert np.array_equal(scan.array, array.astype(np.float32))
    assert max_corner_distance_mm(scan.geometry, oblique, array.shape) < 1e-4
    assert read_header(path).dtype == dtype


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_all_48_orientations_survive_exactly(tmp_path, ending):
    array = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    for axes, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(axes), range(3)] = signs
        geometry = GEOMETRY._replace(direction=tuple((matrix + 0.0).ravel().tolist()))
        path = tmp_path / f"x{ending}"
        write_image(path, array, geometry)
        scan = read_image(path)
        assert scan.geometry.direction == geometry.direction
        assert (scan.geometry.spacing_mm, scan.geometry.origin_mm) == (geometry.spacing_mm, geometry.origin_mm)
        assert np.array_equal(scan.array, array)
        assert SimpleITK.ReadImage(str(path)).GetDirection() == geometry.direction


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), ending=st.sampled_from(IMAGE_ENDINGS))
def test_random_geometries_survive_and_agree_with_simpleitk(tmp_path, seed, ending):
    rng = np.random.default_rng(seed)
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    geometry = Geometry(tuple(rng.uniform(0.2, 6, 3)), tuple(rng.normal(0, 150, 3)), tuple(matrix.ravel().tolist()))
    array = rng.normal(size=tuple(rng.integers(2, 8, 3))).astype(np.float32)
    path = tmp_path / f"x{ending}"
    write_image(path, array, geometry)
    scan = read_image(path)
    assert max_corner_distance_mm(scan.geometry, geometry, array.shape) < 1e-3
    image = SimpleITK.ReadImage(str(path))
    assert np.allclose(image.GetDirection(), scan.geometry.direction, atol=1e-5)
    assert np.allclose(image.GetOrigin(), scan.geometry.origin_mm, atol=1e-3)


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_the_same_labels_give_the_same_bytes(tmp_path, ending):
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7))
    first, second = tmp_path / f"a{ending}", tmp_path / "other" / f"b{ending}"
    write_label(first, labels, GEOMETRY)
    write_label(second, labels.astype(np.uint8), GEOMETRY)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
@pytest.mark.parametrize(("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_labels_take_the_smallest_type_that_holds_them(tmp_path, ending, largest, dtype):
    labels = np.zeros((4, 4, 4), np.int64)
    labels[1, 2, 3] = largest
    path = tmp_path / f"x{ending}"
    write_label(path, labels, GEOMETRY)
    scan = read_label(path)
    assert scan.array.dtype == dtype
    assert np.array_equal(scan.array, labels)
    assert read_header(path).dtype == np.dtype(dtype).name


def test_labels_that_cannot_be_stored_are_a_programming_error(tmp_path):
    for bad in (np.full((2, 2, 2), -1), np.full((2, 2, 2), 65536), np.zeros((2, 2, 2), np.float32)):
        with pytest.raises(ValueError, match="integers"):
            write_label(tmp_path / "x.nii", bad, GEOMETRY)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        write_label(tmp_path / "x.png", np.zeros((2, 2, 2), np.uint8), GEOMETRY)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("sform", "qform"), [(0, 1), (1, 0), (2, 1), (4, 4), (0, 0), (1, 3)])
def test_a_label_keeps_the_nifti_header_geometry_of_its_scan(tmp_path, oblique, ending, sform, qform):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_qform(oblique.affine_ras, code=qform)
    image.header.set_sform(oblique.affine_ras, code=sform)
    image.header["sform_code"], image.header["qform_code"] = sform, qform
    image.header["xyzt_units"] = 10
    image.header["descrip"], image.header["aux_file"] = b"ZZCANARY^PATIENT", b"ZZCANARY"
    image.header["intent_name"], image.header["db_name"] = b"ZZCANARY", b"ZZCANARY"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"ZZCANARY birth 1950-01-01"))
    source, target = tmp_path / f"x{ending}", tmp_path / f"y{ending}"
    image.to_filename(source)
    assert b"ZZCANARY" in (gzip.decompress(source.read_bytes()) if ending == ".nii.gz" else source.read_bytes())
    scan = read_image(source)
    write_label(target, np.ones((4, 5, 6), np.uint8), scan.geometry, like=source)
    before, after = nibabel.load(source).header, nibabel.load(target).header
    for field in ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                  "qoffset_z", "srow_x", "srow_y", "srow_z"):
        assert np.array_equal(before[field], after[field]), field
    assert np.array_equal(before["pixdim"][:4], after["pixdim"][:4])
    assert after.get_xyzt_units()[0] == "mm"
    assert np.array_equal(nibabel.load(source).affine, nibabel.load(target).affine)
    assert read_label(target).geometry == scan.geometry
    content = gzip.decompress(target.read_bytes()) if ending == ".nii.gz" else target.read_bytes()
    assert b"ZZCANARY" not in content
    assert target.name.encode() not in target.read_bytes()


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_label_keeps_the_version_of_its_scan_and_is_little_endian(tmp_path, version, order):
    header = version.header_class(endianness=order)
    image = version(np.zeros((3, 4, 5), np.int16), np.diag([2.0, 3.0, 4.0, 1.0]), header)
    image.to_filename(tmp_path / "x.nii.gz")
    scan = read_image(tmp_path / "x.nii.gz")
    labels = np.arange(60).reshape(3, 4, 5)
    write_label(tmp_path / "y.nii.gz", labels, scan.geometry, like=tmp_path / "x.nii.gz")
    result = nibabel.load(tmp_path / "y.nii.gz")
    assert type(result) is version
    assert result.header.endianness == "<"
    assert np.array_equal(np.asarray(result.dataobj), labels)
    assert read_label(tmp_path / "y.nii.gz").geometry == scan.geometry


@pytest.mark.parametrize("source", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("target", [".nrrd", ".mha", ".nii"])
def test_a_label_may_have_another_format_than_its_scan(make_scan, tmp_path, volume, source, target):
    path = make_scan(source)
    geometry = read_header(path).geometry
    write_label(tmp_path / f"y{target}", (volume > 100).astype(np.uint8), geometry, like=path)
    result = read_label(tmp_path / f"y{target}")
    assert np.array_equal(result.array, volume > 100)
    assert max_corner_distance_mm(result.geometry, geometry, volume.shape) < 1e-4


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_nrrd_and_mha_labels_keep_the_geometry_exactly(make_scan, tmp_path, volume, ending):
    path = make_scan(ending)
    before = SimpleITK.ReadImage(str(path))
    write_label(tmp_path / f"y{ending}", (volume > 100).astype(np.uint8), read_image(path).geometry, like=path)
    after = SimpleITK.ReadImage(str(tmp_path / f"y{ending}"))
    assert np.allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-15)
    assert after.GetOrigin() == before.GetOrigin()
    assert np.allclose(after.GetDirection(), before.GetDirection(), atol=1e-15)


def test_a_failed_write_leaves_nothing(tmp_path):
    class Broken(np.ndarray):
        def tobytes(self, order="C"):
            raise OSError("disk full")

    array = np.zeros((3, 3, 3), np.float32).view(Broken)
    with pytest.raises(OSError, match="disk full"):
        write_image(tmp_path / "x.nii", array, GEOMETRY)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path, refused):
    refused(read_image, tmp_path / "absent.nii.gz", "D1", "not found")


@pytest.mark.parametrize(("error", "words"), [(PermissionError(13, "denied"), "no permission"),
                                              (OSError(5, "Input/output error"), "Input/output error")])
def test_what_the_operating_system_refuses_is_told(make_scan, monkeypatch, error, words):
    path = make_scan(".nii")

    def failing_open(*_):
        raise error

    monkeypatch.setattr("semivox.imaging.payload.open", failing_open, raising=False)
    with pytest.raises(ResourceError, match=words):
        read_image(path)


def test_the_model_scan_must_have_the_same_shape(make_scan, tmp_path):
    path = make_scan(".nii.gz")
    with pytest.raises(ValueError, match="shape"):
        write_label(tmp_path / "y.nii.gz", np.zeros((3, 3, 3), np.uint8), GEOMETRY, like=path)


def test_real_scans_are_read_and_their_labels_survive(tmp_path):
    if "SEMIVOX_DATA" not in os.environ:
        pytest.skip("SEMIVOX_DATA does not name the folder with the real scans")
    folder = Path(os.environ["SEMIVOX_DATA"]) / "la_half"
    for image in sorted((folder / "imagesTr").iterdir())[:3]:
        scan, label = read_image(image), read_label(folder / "labelsTr" / image.name.replace("_0000", ""))
        assert scan.array.shape == label.array.shape
        assert max_corner_distance_mm(scan.geometry, label.geometry, scan.array.shape) < 1e-3
        assert np.allclose(scan.array, nibabel.load(image).get_fdata(dtype=np.float32), atol=1e-5)
        write_label(tmp_path / "y.nii.gz", label.array, scan.geometry, like=image)
        assert np.array_equal(read_label(tmp_path / "y.nii.gz").array, label.array)
        assert np.array_equal(nibabel.load(tmp_path / "y.nii.gz").affine, nibabel.load(image).affine)


def test_reading_needs_at_most_three_times_the_scan_in_memory(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "x.nii.gz"
    array = np.zeros((256, 256, 200), np.int16)
    array[::7] = 3
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
    code = ("import resource, sys; from pathlib import Path; from semivox.imaging.files import read_image;"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
            "before = peak(); read_image(Path(sys.argv[1])); print((peak() - before) * 1024)")
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 3 * array.size * 4


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_channels_along_the_fourth_axis_are_read_one_by_one(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(-50, 900, (5, 6, 7, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / name)
    assert count_channels(tmp_path / name) == 3
    scans = read_channels(tmp_path / name)
    assert [scan.array.dtype for scan in scans] == [np.float32] * 3
    for channel, scan in enumerate(scans):
        np.testing.assert_array_equal(scan.array, values[..., channel])
        assert scan.geometry.spacing_mm == pytest.approx((1.0, 2.0, 3.0))


def test_a_3d_file_has_one_channel(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    assert count_channels(tmp_path / "a.nii.gz") == 1
    (scan,) = read_channels(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(scan.array, values)


def test_a_cut_file_of_several_channels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 7, 3), np.float32), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError):
        read_channels(path)
