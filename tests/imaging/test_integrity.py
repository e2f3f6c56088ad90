"""Bad files: each is refused with a code, the file's name and a fix; none is taken for a scan."""

from __future__ import annotations

import gzip
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semivox.errors import InputError
from semivox.imaging.files import IMAGE_ENDINGS, read_header, read_image, read_label, verify_complete

READERS = [read_image, read_label, verify_complete]
HTML = b"\n <!DOCTYPE html><html><body>404 Not Found</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def files_of_every_kind(folder: Path) -> list[Path]:
    """Small files in each format, compressed and not."""
    array = np.random.default_rng(0).integers(0, 5, (8, 9, 10)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(array)
    paths = []
    for name, packed in (("a.nii", False), ("b.nii.gz", True), ("c.nrrd", False), ("d.nrrd", True), ("e.mha", False),
                         ("f.mha", True)):
        SimpleITK.WriteImage(image, str(folder / name), packed)
        paths.append(folder / name)
    return paths


@pytest.mark.parametrize("index", range(6))
def test_no_truncation_is_accepted(tmp_path, index):
    path = files_of_every_kind(tmp_path)[index]
    content = path.read_bytes()
    verify_complete(path)
    last = range(len(content) - 9, len(content))
    for size in sorted({*np.linspace(0, len(content) - 1, 60).astype(int).tolist(), *last}):
        path.write_bytes(content[:size])
        for read in READERS:
            with pytest.raises(InputError) as caught:
                read(path)
            assert caught.value.code in {"D17", "I1", "I2", "I5", "I36", "I14"}, (size, str(caught.value))


def test_what_is_missing_is_counted(tmp_path, refused):
    path = tmp_path / "x.nii"
    nibabel.Nifti1Image(np.zeros((32, 32, 32), np.int16), np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[: 352 + 32592])
    refused(read_image, path, "I1", "expected 65,536 voxel bytes, file has 32,592")


@pytest.mark.parametrize("cut", range(1, 9))
def test_the_last_bytes_of_a_gzip_file_count(make_scan, refused, cut):
    path = make_scan(".nii.gz")
    path.write_bytes(path.read_bytes()[:-cut])
    for read in READERS:
        refused(read, path, "I2", "compressed data ends early")


@pytest.mark.parametrize(("position", "word"), [(-8, "checksum"), (-5, "checksum"), (-4, "length"), (-1, "length")])
def test_a_wrong_gzip_trailer_is_refused(make_scan, refused, position, word):
    path = make_scan(".nii.gz")
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    for read in READERS:
        refused(read, path, "I3", word)


def test_a_flipped_bit_in_compressed_data_is_refused(make_scan):
    for ending in (".nii.gz", ".nrrd", ".mha"):
        path = make_scan(ending)
        content = bytearray(path.read_bytes())
        content[-60] ^= 16
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_image(path)
        assert caught.value.code in {"I1", "I2", "I3", "I7"}


def test_bytes_after_the_data_are_noted(make_scan, volume):
    for ending in (".nii", ".nii.gz", ".nrrd", ".mha"):
        path = make_scan(ending)
        with open(path, "ab") as stream:
            stream.write(b"junk!")
        scan = read_image(path)
        assert np.array_equal(scan.array, volume)
        assert any("5 bytes after" in note for note in scan.notes), ending


def test_much_more_data_than_declared_is_refused(make_scan, refused):
    path = make_scan(".nii")
    path.write_bytes(path.read_bytes() + bytes(3 << 20))
    refused(read_image, path, "I7", "header declares")
    packed = make_scan(".nii.gz")
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()) + bytes(3 << 20)))
    refused(read_image, packed, "I7", "header declares")


def test_gzip_files_of_several_parts_are_read(make_scan, volume):
    path = make_scan(".nii.gz")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    scan = read_image(path)
    assert np.array_equal(scan.array, volume)
    assert any("2 parts" in note for note in scan.notes)


def test_a_missing_last_part_is_refused(make_scan, refused):
    path = make_scan(".nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:1000]))
    refused(read_image, path, "I1", "expected 2,772 voxel bytes, file has 648")


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
@pytest.mark.parametrize(("content", "word"), [(b"", "zero-byte"), (LFS, "Git LFS"), (HTML, "HTML")])
def test_what_is_no_scan_is_recognized_by_content(tmp_path, refused, ending, content, word):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    for read in (*READERS, read_header):
        refused(read, path, "D17", word)


@pytest.mark.parametrize("ending", [".part", ".crdownload", ".partial"])
def test_a_partial_download_is_recognized(make_scan, refused, ending):
    path = make_scan(".nii.gz")
    partial = path.with_name(path.name + ending)
    path.rename(partial)
    refused(read_image, partial, "D17", "partial download")


@pytest.mark.parametrize(
    ("true", "named", "kind", "fix"),
    [(".nii", ".nii.gz", "NIfTI", "scan.nii"), (".nii.gz", ".nii", "gzip", "scan.nii.gz"),
     (".nrrd", ".nii.gz", "NRRD", "scan.nrrd"), (".mha", ".nrrd", "MetaImage", "scan.mha"),
     (".nii", ".mha", "NIfTI", "scan.nii")],
)
def test_a_wrong_ending_names_the_true_format_and_the_new_name(make_scan, refused, true, named, kind, fix):
    path = make_scan(true)
    wrong = path.with_name(f"scan{named}")
    path.rename(wrong)
    for read in (*READERS, read_header):
        error = refused(read, wrong, "I5", kind, f"named {named}")
        assert error.fix == f"rename it to {fix}"


def test_unknown_endings_and_contents_are_refused(tmp_path, refused):
    for name, code in (("x.png", "D2"), ("x.nii", "I5"), ("x.nii.gz", "I5"), ("x.nrrd", "I5"), ("x.mha", "I5")):
        path = tmp_path / name
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(600))
        refused(read_image, path, code)
    path = tmp_path / "y.nii.gz"
    path.write_bytes(gzip.compress(b"not a scan" * 100))
    refused(read_image, path, "I5", "not NIfTI")


def test_a_folder_is_no_scan(tmp_path, refused):
    (tmp_path / "x.nii").mkdir()
    refused(read_image, tmp_path / "x.nii", "D1", "folder")


def test_a_gzip_bomb_is_refused_without_much_memory(tmp_path, refused):
    import tracemalloc

    path = tmp_path / "x.nii.gz"
    header = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as stream:
        stream.write(packer.compress(header))
        for _ in range(60):
            stream.write(packer.compress(bytes(1 << 20)))
        stream.write(packer.flush())
    tracemalloc.start()
    refused(read_image, path, "I7")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_memory_limit_can_be_set(make_scan):
    path = make_scan(".nii.gz")
    with pytest.raises(InputError, match=r"the limit is 1e-06 GB"):
        read_header(path, limit_gb=1e-6)


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in files_of_every_kind(tmp_path_factory.mktemp("intact"))]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, 5), data=st.data())
def test_a_mutated_file_is_read_or_refused_but_nothing_else(tmp_path, intact, index, data):
    path = tmp_path / intact[index][0]
    content = bytearray(intact[index][1])
    limit = 352 if index < 2 else 700
    if index == 1:
        content = bytearray(gzip.decompress(bytes(content)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(limit, len(content) - 1)))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        content[position : position + width] = data.draw(st.binary(min_size=width, max_size=width))
    path.write_bytes(gzip.compress(bytes(content), 1) if index == 1 else bytes(content))
    for read in (read_header, read_image, read_label):
        with suppress(InputError):
            result = read(path)
            assert len(result.shape if read is read_header else result.array.shape) == 3


SPECIAL = [b"\0" * 4, b"\xff" * 4, struct.pack("<f", np.nan), struct.pack("<f", np.inf), struct.pack("<f", -1.0),
           struct.pack("<f", 1e30), struct.pack("<h", -32768) * 2, struct.pack("<h", 32767) * 2]


def test_every_field_of_a_nifti_header_may_hold_anything(tmp_path):
    path = tmp_path / "x.nii"
    nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(path)
    content = path.read_bytes()
    refusals = 0
    for position in range(0, 348, 4):
        for special in SPECIAL:
            path.write_bytes(content[:position] + special + content[position + 4 :])
            try:
                read_image(path)
            except InputError:
                refusals += 1
    assert refusals > 100
