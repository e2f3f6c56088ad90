from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK

from semivox.imaging.files import read_header, read_image, verify_complete

VOXELS = np.arange(24, dtype="<i2")
FIELDS = {"type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "2 3 4",
          "space directions": "(2,0,0) (0,3,0) (0,0,4)", "kinds": "domain domain domain", "endian": "little",
          "encoding": "raw", "space origin": "(5,6,7)"}


def save(path, *, data: bytes | None = None, extra: str = "", **changes):
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(f"NRRD0004\n# comment\n{lines}{extra}\n".encode() + (VOXELS.tobytes() if data is None else data))
    return path


def test_a_plain_file_is_read_by_hand_computed_geometry(tmp_path):
    scan = read_image(save(tmp_path / "x.nrrd"))
    assert np.array_equal(scan.array, VOXELS.reshape((2, 3, 4), order="F"))
    assert scan.geometry[:3] == ((2.0, 3.0, 4.0), (5.0, 6.0, 7.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize("space", ["left-posterior-superior", "LPS", "right-anterior-superior", "RAS",
                                   "left-anterior-superior", "LAS"])
def test_spaces_are_turned_as_simpleitk_does(tmp_path, space):
    path = save(tmp_path / "x.nrrd", space=space)
    image, geometry = SimpleITK.ReadImage(str(path)), read_header(path).geometry
    assert np.allclose(image.GetDirection(), geometry.direction)
    assert np.allclose(image.GetOrigin(), geometry.origin_mm)


def test_gzip_and_big_endian_are_read(tmp_path):
    path = save(tmp_path / "x.nrrd", data=gzip.compress(VOXELS.astype(">i2").tobytes()), encoding="gzip", endian="big")
    assert np.array_equal(read_image(path).array, VOXELS.reshape((2, 3, 4), order="F"))


def test_windows_line_ends_and_key_value_pairs_are_accepted(tmp_path):
    path = save(tmp_path / "x.nrrd", extra="Segment0_Name:=organ\n")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 12))
    content = path.read_bytes()
    assert content.count(b"\r\n") == 12
    assert np.array_equal(read_image(path).array, VOXELS.reshape((2, 3, 4), order="F"))


def test_a_component_axis_of_size_one_is_dropped(tmp_path):
    path = save(tmp_path / "x.nrrd", dimension="4", sizes="1 2 3 4", kinds="vector domain domain domain",
                space_directions="none (2,0,0) (0,3,0) (0,0,4)")
    assert read_image(path).array.shape == (2, 3, 4)


BAD = [
    ({"sizes": "2 3 5"}, "I1", ("expected 60 voxel bytes, file has 48",)),
    ({"sizes": "2 0 4"}, "I6", ("2 x 0 x 4",)),
    ({"sizes": "2 -3 4"}, "I6", ()),
    ({"sizes": "99999 99999 99999"}, "I7", ("limit is 8 GB",)),
    ({"sizes": "9" * 400 + " 3 4"}, "I7", ()),
    ({"sizes": "2 3 x"}, "I36", ("sizes",)),
    ({"sizes": "2 3"}, "I36", ("dimension",)),
    ({"sizes": None}, "I36", ("'sizes' is missing",)),
    ({"dimension": "2"}, "I36", ("dimension",)),
    ({"sizes": "2 12 1", "space_directions": "(1,0,0) (0,1,0) (0,0,1)"}, "I17", ("single slice",)),
    ({"space": None}, "I36", ("'space' is missing",)),
    ({"space": "scanner-xyz"}, "I36", ("not anatomical",)),
    ({"space_directions": "(0,0,0) (0,3,0) (0,0,4)"}, "I8", ("spacing 0",)),
    ({"space_directions": "(1e9,0,0) (0,3,0) (0,0,4)"}, "I9", ()),
    ({"space_directions": "(nan,0,0) (0,3,0) (0,0,4)"}, "I10", ("NaN",)),
    ({"space_directions": "(1,1,0) (0,3,0) (0,0,4)"}, "I10", ("sheared",)),
    ({"space_directions": "(0,3,0) (0,3,0) (0,0,4)"}, "I10", ("singular",)),
    ({"space_directions": "(a,0,0) (0,3,0) (0,0,4)"}, "I36", ("space directions",)),
    ({"space_origin": "(1,2)"}, "I36", ("space origin",)),
    ({"type": "block"}, "I15", ("block",)),
    ({"endian": "middle"}, "I36", ("middle",)),
    ({"endian": None}, "I36", ("endian",)),
    ({"encoding": "bzip2"}, "I36", ("bzip2",)),
    ({"encoding": "gzip"}, "I36", ("not gzip",)),
    ({"byte_skip": "-1"}, "I36", ("byte skip",)),
    ({"data_file": "/etc/passwd"}, "I37", ("external",)),
    ({"data_file": "other.raw"}, "I37", ("external",)),
    ({"datafile": "LIST"}, "I37", ("external",)),
    ({"dimension": "4", "sizes": "3 2 2 2", "space_directions": "none (2,0,0) (0,3,0) (0,0,4)"}, "I16", ("3 values",)),
    ({"dimension": "4", "sizes": "3 2 2 2", "space_directions": "none (2,0,0) (0,3,0) (0,0,4)",
      "extra": "Segment0_ID:=a\n"}, "I39", ("layers",)),
    ({"extra": "type: short\n"}, "I36", ("twice",)),
]


@pytest.mark.parametrize(("changes", "code", "words"), BAD)
def test_bad_headers_are_refused(tmp_path, refused, changes, code, words):
    path = save(tmp_path / "x.nrrd", **changes)
    for read in (read_image, verify_complete):
        refused(read, path, code, *words)


def test_a_header_without_end_is_refused(tmp_path, refused):
    path = tmp_path / "x.nrrd"
    path.write_bytes(b"NRRD0004\n" + b"a: b" * 600_000)
    refused(read_image, path, "I1", "ends inside the header")
