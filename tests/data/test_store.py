"""A store is read by patches, labels only on request, and damage is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from semivox.data.splits import choose_split
from semivox.data.store import LabelAccess, Store
from semivox.errors import InputError, UsageError


@pytest.fixture
def store(toy_store, tmp_path):
    """A copy under another name: it can be changed, and it shows that stores can be moved."""
    return Store.open(shutil.copytree(toy_store.path, tmp_path / "moved"))


def test_arrays_are_read_only_memory_maps(store):
    name = store.train_order[0]
    for array in (store.image(name), store.label(name), store.foreground(name)):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    assert store.image(name).shape == (1, *store.case(name).shape)
    assert store.image(name).dtype == np.float32
    assert store.label(name).shape == store.case(name).shape


def test_foreground_positions_lie_on_their_class(store):
    for name in store.train_order:
        rows, label = store.foreground(name), store.label(name)
        assert rows.dtype == np.int32
        assert len(rows) > 0
        assert (label[tuple(rows[:, 1:].T)] == rows[:, 0]).all()
        assert (rows[:, 0] > 0).all()


def test_deleting_a_hidden_label_leaves_everything_else_as_it_was(store):
    split = choose_split(store, labeled=2, validation=1)
    before = {name: np.array(store.image(name)) for name in split.unlabeled}
    for name in set(split.unlabeled) - set(split.validation):
        shutil.rmtree(store.path / "labels" / name, ignore_errors=True)
    again = Store.open(store.path)
    assert choose_split(again, labeled=2, validation=1) == split
    assert again.digest == store.digest
    for name, image in before.items():
        assert np.array_equal(again.image(name), image)
    for name in (*split.labeled, *split.validation):
        assert again.label(name).shape == again.case(name).shape


def test_a_missing_label_file_is_named(store):
    name = store.train_order[1]
    (store.path / "labels" / name / "label.npy").unlink()
    with pytest.raises(InputError, match=rf"{name}/label\.npy: file not found"):
        store.label(name)
    with pytest.raises(InputError, match=r"u|label\.npy"):
        store.label(next(case.name for case in store.cases if case.role == "unlabeled"))


def test_an_unknown_case_is_refused(store):
    with pytest.raises(InputError, match="no such case"):
        store.image("nobody")


def test_label_access_reaches_only_what_is_allowed(store):
    first, second = store.train_order[:2]
    access = LabelAccess(store, [first])
    assert np.array_equal(access.label(first), store.label(first))
    assert np.array_equal(access.foreground(first), store.foreground(first))
    with pytest.raises(PermissionError, match=second):
        access.label(second)
    with pytest.raises(PermissionError, match=second):
        access.foreground(second)


def test_test_scans_and_references_are_files_of_the_store(store):
    for case in store.cases:
        if case.role == "test":
            assert case.images == (f"imagesTs/{case.name}_0000.nii.gz",)
            assert case.reference == f"labelsTs/{case.name}.nii.gz"
            assert all((store.path / file).is_file() for file in (*case.images, case.reference))
        else:
            assert (case.images, case.reference) == ((), None)


def test_an_intact_store_verifies(store):
    assert store.verify() == []


@pytest.mark.parametrize("kind", ["image", "label", "test"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_every_kind_of_damage_is_found(store, kind, damage):
    name = store.train_order[0]
    test = next(case.name for case in store.cases if case.role == "test")
    path = {"image": store.path / "cases" / name / "image.npy", "label": store.path / "labels" / name / "label.npy",
            "test": store.path / "imagesTs" / f"{test}_0000.nii.gz"}[kind]
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[:-5])
    else:
        content[-5] ^= 4
        path.write_bytes(content)
    faults = store.verify()
    assert len(faults) == 1
    assert faults[0].path == path


@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_a_store_with_a_cut_or_missing_image_is_refused_on_opening_with_the_way_out(store, damage):
    path = store.path / "cases" / store.train_order[0] / "image.npy"
    size = path.stat().st_size
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(InputError, match=f"{size - 1:,} bytes, recorded are {size:,}" if damage == "truncate"
                       else "file not found") as caught:
        Store.open(store.path)
    assert caught.value.code == "T19"
    assert str(path) == caught.value.subject
    assert "semivox prepare" in caught.value.fix


def test_a_cut_label_is_refused_where_it_is_needed_and_only_there(store):
    first, second = store.train_order[:2]
    path = store.path / "labels" / second / "label.npy"
    path.write_bytes(path.read_bytes()[:-1])
    again = Store.open(store.path)
    assert LabelAccess(again, [first]).label(first).shape == again.case(first).shape
    with pytest.raises(InputError, match="recorded are"):
        LabelAccess(again, [first, second])


def test_a_truncated_array_is_refused_on_reading(store):
    path = store.path / "cases" / store.train_order[0] / "image.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"image\.npy: damaged"):
        store.image(store.train_order[0])


def test_an_array_of_pickled_objects_is_refused(store):
    path = store.path / "cases" / store.train_order[0] / "image.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        store.image(store.train_order[0])


def test_a_store_that_was_not_finished_names_prepare(store):
    (store.path / "store.json").unlink()
    with pytest.raises(InputError, match="semivox prepare") as caught:
        Store.open(store.path)
    assert caught.value.exit_code == 3
    with pytest.raises(UsageError, match="folder not found"):
        Store.open(store.path / "nowhere")


@pytest.mark.parametrize(("content", "message"), [
    ({"format": 99}, "format 99, expected 1"), ([1], "format 'list'"), ({"format": 1, "name": "x"}, "damaged")])
def test_a_manifest_that_is_not_ours_is_refused(store, content, message):
    (store.path / "store.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        Store.open(store.path)
