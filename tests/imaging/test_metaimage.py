from __future__ import annotations

import zlib

import numpy as np
import pytest
import SimpleITK

from semivox.imaging.files import read_header, read_image, verify_complete

VOXELS = np.arange(24, dtype="<i2")
FIELDS = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
          "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "5 6 7",
          "ElementSpacing": "2 3 4", "DimSize": "2 3 4", "ElementType": "MET_SHORT"}


def save(path, *, data: bytes | None = None, local: str = "LOCAL", **changes):
    fields = {**FIELDS, **changes, "ElementDataFile": local}
    lines = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(lines.encode() + (VOXELS.tobytes() if data is None else data))
    return path


def test_a_plain_file_is_read_by_hand_computed_geometry(tmp_path):
    scan = read_image(save(tmp_path / "x.mha"))
    assert np.array_equal(scan.array, VOXELS.reshape((2, 3, 4), order="F"))
    assert scan.geometry[:3] == ((2.0, 3.0, 4.0), (5.0, 6.0, 7.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def test_the_rows_of_the_matrix_are_the_axes_as_simpleitk_has_it(tmp_path):
    path = save(tmp_path / "x.mha", TransformMatrix="0 1 0 0 0 1 1 0 0")
    assert read_header(path).geometry.direction == SimpleITK.ReadImage(str(path)).GetDirection()


def test_big_endian_and_compression_are_read(tmp_path):
    data = zlib.compress(VOXELS.astype(">i2").tobytes())
    path = save(tmp_path / "x.mha", data=data, BinaryDataByteOrderMSB="True", CompressedData="True",
                CompressedDataSize=str(len(data)))
    assert np.array_equal(read_image(path).array, VOXELS.reshape((2, 3, 4), order="F"))


def test_direction_and_origin_may_be_absent(tmp_path):
    geometry = read_header(save(tmp_path / "x.mha", TransformMatrix=None, Offset=None)).geometry
    assert geometry[:3] == ((2.0, 3.0, 4.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


BAD = [
    ({"DimSize": "2 3 5"}, "I1", ("expected 60 voxel bytes, file has 48",)),
    ({"DimSize": "2 3 0"}, "I6", ("2 x 3 x 0",)),
    ({"DimSize": "2 3 -4"}, "I6", ()),
    ({"DimSize": "nan 3 4"}, "I36", ("DimSize",)),
    ({"DimSize": "1e300 1e300 1e300"}, "I7", ("limit is 8 GB",)),
    ({"DimSize": "2 3"}, "I36", ("NDims is 3",)),
    ({"DimSize": None}, "I36", ("'DimSize' is missing",)),
    ({"NDims": None}, "I36", ("'NDims' is missing",)),
    ({"DimSize": "2 12 1"}, "I17", ("single slice",)),
    ({"ElementSpacing": None}, "I8", ("ElementSpacing",)),
    ({"ElementSpacing": "0 1 1"}, "I8", ("spacing 0",)),
    ({"ElementSpacing": "nan 1 1"}, "I9", ()),
    ({"ElementSpacing": "1 1"}, "I36", ()),
    ({"TransformMatrix": "1 1 0 0 1 0 0 0 1"}, "I10", ("sheared",)),
    ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "I10", ("singular",)),
    ({"Offset": "inf 0 0"}, "I10", ("NaN or infinity",)),
    ({"ElementType": "MET_STRING"}, "I15", ("MET_STRING",)),
    ({"ElementNumberOfChannels": "3"}, "I16", ("3 values",)),
    ({"BinaryData": "False"}, "I36", ("text",)),
    ({"HeaderSize": "-1"}, "I36", ()),
    ({"CompressedData": "True"}, "I3", ("damaged",)),
    ({"CompressedData": "True", "CompressedDataSize": "100"}, "I2", ("declares 100 bytes",)),
    ({"local": "/etc/passwd"}, "I37", ("external",)),
    ({"local": "x.raw"}, "I37", ("external",)),
    ({"local": "LIST"}, "I37", ("external",)),
]


@pytest.mark.parametrize(("changes", "code", "words"), BAD)
def test_bad_headers_are_refused(tmp_path, refused, changes, code, words):
    path = save(tmp_path / "x.mha", **changes)
    for read in (read_image, verify_complete):
        refused(read, path, code, *words)


def test_a_line_that_is_no_field_is_refused(tmp_path, refused):
    path = tmp_path / "x.mha"
    path.write_bytes(b"ObjectType = Image\nnonsense\n")
    refused(read_image, path, "I36", "line 2")
