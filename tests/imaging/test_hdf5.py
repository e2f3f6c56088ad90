from __future__ import annotations

import h5py
import numpy as np
import pytest

from semivox.imaging.hdf5 import read_la_case

IMAGE = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
LABEL = (IMAGE > 0).astype(np.uint8)


@pytest.fixture
def case(tmp_path):
    def make(fill=None, *, image=IMAGE, label=LABEL, **options):
        path = tmp_path / "mri_norm2.h5"
        with h5py.File(path, "w") as file:
            if image is not None:
                file.create_dataset("image", data=image, **options)
            if label is not None:
                file.create_dataset("label", data=label, **options)
            if fill is not None:
                fill(file)
        return path

    return make


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": (2, 3, 7)}])
def test_image_and_label_are_read_on_a_voxel_grid(case, options):
    path = case(**options)
    image, label = read_la_case(path)
    assert np.array_equal(image.array, IMAGE)
    assert image.array.dtype == np.float32
    assert label is not None
    assert np.array_equal(label.array, LABEL)
    assert image.geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert image.geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert image.geometry.spacing_known is False


def test_the_label_may_be_absent(case):
    assert read_la_case(case(label=None))[1] is None


def test_float64_images_and_integer_labels_of_any_width_are_read(case):
    image, label = read_la_case(case(image=IMAGE.astype(np.float64), label=LABEL.astype(np.int64)))
    assert (image.array.dtype, label.array.dtype) == (np.float32, np.uint8)


def replace(name, make):
    def fill(file):
        del file[name]
        make(file)

    return fill


def virtual(file):
    layout = h5py.VirtualLayout(shape=(5, 6, 7), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "image", shape=(5, 6, 7))
    file.create_virtual_dataset("image", layout)


def external_storage(file):
    file.create_dataset("image", shape=(2, 3, 4), dtype="u1", external=[("/etc/passwd", 0, 24)])


BAD = [
    ("external link", replace("image", lambda f: f.update({"image": h5py.ExternalLink("x.h5", "/a")})), "I47", "link"),
    ("soft link loop", replace("image", lambda f: f.update({"image": h5py.SoftLink("/image")})), "I47", "link"),
    ("soft link to data", replace("image", lambda f: f.update({"image": h5py.SoftLink("/label")})), "I47", "link"),
    ("label link", replace("label", lambda f: f.update({"label": h5py.ExternalLink("x.h5", "/a")})), "I47", "link"),
    ("virtual", replace("image", virtual), "I47", "another file"),
    ("external storage", replace("image", external_storage), "I47", "another file"),
    ("wrong name", replace("image", lambda f: f.create_dataset("raw", data=IMAGE)), "I46", "holds label, raw"),
    ("group", replace("image", lambda f: f.create_group("image")), "I46", "group"),
    ("huge", replace("image", lambda f: f.create_dataset("image", shape=(9000,) * 3, dtype="f4", chunks=(9, 9, 9))),
     "I7", "limit"),
    ("strings", replace("image", lambda f: f.create_dataset("image", data=["a"] * 3)), "I48", "plain numbers"),
    ("compound", replace("image", lambda f: f.create_dataset("image", data=np.zeros((3, 3, 3), "i4,f4"))), "I48", ""),
    ("complex", replace("image", lambda f: f.create_dataset("image", data=np.zeros((3, 3, 3), "c8"))), "I48", ""),
    ("scalar", replace("image", lambda f: f.create_dataset("image", data=3.0)), "I6", "0 dimensions"),
    ("flat", replace("image", lambda f: f.create_dataset("image", data=IMAGE[0])), "I17", "single slice"),
    ("other shape", replace("label", lambda f: f.create_dataset("label", data=LABEL[:4])), "I26", "(4, 6, 7)"),
    ("never written", replace("image", lambda f: f.create_dataset("image", shape=(5, 6, 7), dtype="f4")), "I46",
     "file holds 0"),
    ("chunks missing", replace("image", lambda f: f.create_dataset("image", shape=(5, 6, 7), chunks=(5, 6, 1),
                                                                  dtype="f4").__setitem__((..., 0), 1)), "I46",
     "should have 7 chunks, the file holds 1"),
    ("nan", replace("image", lambda f: f.create_dataset("image", data=np.full((3, 3, 3), np.nan))), "I18", "27 voxels"),
    ("negative label", replace("label", lambda f: f.create_dataset("label", data=-LABEL.astype(int))), "I31", "-1"),
]


@pytest.mark.parametrize(("fill", "code", "word"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_cases_are_refused(case, refused, fill, code, word):
    refused(read_la_case, case(fill), code, word)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated_files_are_refused(case, refused, share):
    path = case()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(read_la_case, path, "I46")


def test_other_files_are_refused(tmp_path, refused):
    path = tmp_path / "mri_norm2.h5"
    path.write_bytes(b"not hdf5 at all" * 100)
    refused(read_la_case, path, "I46", "not HDF5")
    path.write_bytes(b"")
    refused(read_la_case, path, "D17", "zero-byte")
    path.unlink()
    refused(read_la_case, path, "D1", "not found")


def test_flipped_bytes_never_raise_anything_else(case):
    from semivox.errors import InputError

    content = case(compression="gzip").read_bytes()
    rng = np.random.default_rng(0)
    path = case()
    refusals = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, min(len(content), 2400), 4):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_la_case(path)
        except InputError:
            refusals += 1
    assert refusals > 25
