"""dataset.json: what it declares, and what makes no sense in it."""

from __future__ import annotations

from typing import Any

import pytest
from findings import errors, names, only

from semivox.data.dataset import find_dataset


@pytest.mark.parametrize(("labels", "wanted"), [
    ({"background": 0, "liver": 1, "tumor": 2}, ("background", "liver", "tumor")),
    ({"tumor": 2, "background": 0, "liver": 1}, ("background", "liver", "tumor")),
    ({"0": "background", "1": "liver"}, ("background", "liver"))])
def test_labels_of_both_versions_are_ordered_by_value(folder: Any, labels: dict, wanted: tuple[str, ...]) -> None:
    folder.declare(labels=labels)
    assert find_dataset(folder.root).class_names == wanted


@pytest.mark.parametrize(("labels", "code", "text"), [
    ({"background": 0, "a": 2}, "J5", "not consecutive: the values are 0, 2"),
    ({"a": 1, "b": 2}, "J5", "no background"),
    ({"liver": 0, "background": 1}, "J5", "gives the background the value 1"),
    ({"background": 0, "a": 1, "b": 1}, "J5", "to several classes: a, b"),
    ({"0": "background", "1": "a", "2": "a"}, "J5", "names several values 'a'"),
    ({"background": 0, "a": 1.5}, "J5", "is 1.5, expected an integer"),
    ({"background": 0, "a": "1"}, "J5", "is '1', expected an integer"),
    ({"background": 0, "a": True}, "J5", "is True, expected an integer"),
    ({"background": 0, "whole": [1, 2], "core": 2}, "J5", "region"),
    ({"background": 0, "a": 1, "ignore": 2}, "J5", "ignore label"),
    ({"background": 0}, "J5", "only the background"),
    (["background", "a"], "J4", "expected an object")])
def test_labels_that_make_no_sense_are_errors(folder: Any, labels: Any, code: str, text: str) -> None:
    folder.declare(labels=labels)
    dataset = find_dataset(folder.root)
    found = only(dataset, code)
    assert found.severity == "error"
    assert text in found.problem
    assert dataset.class_names is None


@pytest.mark.parametrize(("text", "code"), [
    ('{"labels": }', "J1"), ("", "J1"), ('{"a": 1, "a": 2}', "J2"), ('{"a": NaN}', "J2"), ("[1]", "J4"),
    ('{"numTraining": "ten"}', "J4"), ('{"channel_names": {"0": "MRI", "2": "CT"}}', "J4"),
    ('{"training": [5]}', "J4")])
def test_a_damaged_dataset_json_is_an_error_and_the_files_are_still_listed(folder: Any, text: str, code: str) -> None:
    folder.path("dataset.json").write_text(text)
    dataset = find_dataset(folder.root)
    assert code in {problem.code for problem in errors(dataset)}
    assert names(dataset, "train") == ["a", "b", "c"]


def test_a_byte_order_mark_is_read_over(folder: Any) -> None:
    path = folder.root / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert find_dataset(folder.root).class_names == ("background", "organ")


def test_paths_that_leave_the_folder_are_named_and_not_followed(folder: Any) -> None:
    paths = ["../other/a.nii.gz", "/abs/b.nii.gz", "imagesTr/c.nii.gz"]
    folder.declare(training=[{"image": path} for path in paths])
    dataset = find_dataset(folder.root)
    assert "2 paths outside the dataset folder" in only(dataset, "J7").problem
    assert all(path.is_relative_to(folder.root) for case in dataset.cases for path in case.images)


def test_unknown_keys_are_notes_with_the_near_match(folder: Any) -> None:
    folder.declare(numTrainin=3, numTraining=None)
    note = only(find_dataset(folder.root), "J4")
    assert note.severity == "note"
    assert "numTraining" in note.fix
