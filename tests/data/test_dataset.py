"""Which files are which case: layouts, names, roles, declarations, lists."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from semivox.data.dataset import Dataset, find_dataset, infer_classes, names_from_values
from semivox.data.problems import Problem
from semivox.errors import InputError, ResourceError, UsageError


def names(dataset: Dataset, role: str) -> list[str]:
    return [case.name for case in dataset.cases if case.role == role]


def only(dataset: Dataset, code: str) -> Problem:
    found = [problem for problem in dataset.problems if problem.code == code]
    assert len(found) == 1, dataset.problems
    return found[0]


def errors(dataset: Dataset) -> list[Problem]:
    return [problem for problem in dataset.problems if problem.severity == "error"]


def test_an_nnunet_folder_gives_cases_by_role(folder: Any) -> None:
    dataset = find_dataset(folder.root)
    assert (dataset.layout, dataset.channel_names, dataset.class_names) == ("nnunet", ("MRI",), ("background", "organ"))
    found = [names(dataset, role) for role in ("train", "unlabeled", "test")]
    assert found == [["a", "b", "c"], ["u", "v"], ["t", "w"]]
    first = dataset.cases[0]
    assert first.images == (folder.root / "imagesTr/a_0000.nii.gz",)
    assert first.label == folder.root / "labelsTr/a.nii.gz"
    assert errors(dataset) == []


def test_a_training_image_without_a_mask_is_unlabeled_and_noted(folder: Any) -> None:
    note = only(find_dataset(folder.root), "D3")
    assert note.severity == "note"
    assert note.problem.endswith("used as unlabeled: u, v")


def test_images_in_imagesun_are_unlabeled_without_a_note(folder: Any) -> None:
    folder.image("imagesUn/x.nii.gz")
    dataset = find_dataset(folder.root)
    assert names(dataset, "unlabeled") == ["u", "v", "x"]
    assert "x" not in only(dataset, "D3").problem.split(": ")[-1]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".NII.GZ"])
def test_every_known_ending_is_found(folder: Any, ending: str) -> None:
    folder.path(f"imagesUn/x{ending}").write_bytes(b"not read here")
    assert "x" in names(find_dataset(folder.root), "unlabeled")


def test_channels_of_a_case_are_in_order(folder: Any) -> None:
    for path in sorted(folder.root.glob("images*/*_0000.nii.gz")):
        shutil.copy(path, path.with_name(path.name.replace("_0000", "_0001")))
    folder.declare(channel_names={"0": "T1", "1": "T2"})
    dataset = find_dataset(folder.root)
    assert dataset.channel_names == ("T1", "T2")
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert errors(dataset) == []


def test_names_without_channel_suffix_are_cases_of_one_channel(folder: Any) -> None:
    for path in folder.root.glob("images*/*"):
        path.rename(path.with_name(path.name.replace("_0000", "")))
    assert names(find_dataset(folder.root), "train") == ["a", "b", "c"]


def test_four_digits_are_part_of_the_name_where_the_masks_say_so(tmp_path: Path) -> None:
    for name in ("la_0000", "la_0001", "la_0002"):
        (tmp_path / "imagesTr").mkdir(exist_ok=True)
        (tmp_path / f"imagesTr/{name}.nii.gz").write_bytes(b"")
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr/la_0001.nii.gz").write_bytes(b"")
    dataset = find_dataset(tmp_path)
    assert names(dataset, "train") == ["la_0001"]
    assert names(dataset, "unlabeled") == ["la_0000", "la_0002"]


def test_four_digits_are_channels_when_no_mask_says_otherwise_and_all_cases_have_channel_0(folder: Any) -> None:
    shutil.rmtree(folder.root / "labelsTr")
    shutil.rmtree(folder.root / "labelsTs")
    assert names(find_dataset(folder.root), "unlabeled") == ["a", "b", "c", "u", "v"]


def test_four_digits_are_names_when_they_exceed_the_declared_channels(tmp_path: Path) -> None:
    (tmp_path / "imagesUn").mkdir()
    for number in range(3):
        (tmp_path / f"imagesUn/scan_{number:04d}.nii.gz").write_bytes(b"")
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "MRI"}}')
    assert names(find_dataset(tmp_path), "unlabeled") == ["scan_0000", "scan_0001", "scan_0002"]


def test_a_decathlon_folder_is_recognized(folder: Any) -> None:
    for path in folder.root.glob("images*/*"):
        path.rename(path.with_name(path.name.replace("_0000", "")))
    folder.json("dataset.json", {
        "name": "Spleen", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}, "numTraining": 3,
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "abc"],
        "test": ["./imagesTs/t.nii.gz", "./imagesTs/w.nii.gz"], "numTest": 2})
    dataset = find_dataset(folder.root)
    assert (dataset.layout, dataset.name, dataset.channel_names) == ("decathlon", "Spleen", ("CT",))
    assert dataset.class_names == ("background", "spleen")
    assert {problem.code for problem in dataset.problems} == {"D3"}


def test_without_dataset_json_channels_are_counted_and_classes_come_from_the_masks(folder: Any) -> None:
    folder.remove("dataset.json")
    masks = folder.mask()
    masks[0, 0, :] = 2
    folder.label("labelsTr/b.nii.gz", masks)
    dataset = find_dataset(folder.root)
    assert (dataset.class_names, dataset.channel_names, dataset.name) == (None, ("channel_0",), "data")
    note = only(dataset, "J1")
    assert note.severity == "note"
    assert "classes come from the masks" in note.problem
    assert infer_classes(dataset) == ("background", "class_1", "class_2")


def test_declared_classes_are_not_inferred(folder: Any) -> None:
    dataset = find_dataset(folder.root)
    shutil.rmtree(folder.root / "labelsTr")
    assert infer_classes(dataset) == ("background", "organ")


def test_masks_with_a_gap_in_their_values_need_a_declaration() -> None:
    with pytest.raises(InputError, match="change 255 to 1 in the masks") as caught:
        names_from_values({0, 255}, subject="data")
    assert caught.value.code == "I31"
    with pytest.raises(InputError, match="all background"):
        names_from_values({0}, subject="data")


def test_classes_cannot_be_inferred_without_masks(folder: Any) -> None:
    folder.remove("dataset.json")
    shutil.rmtree(folder.root / "labelsTr")
    with pytest.raises(InputError) as caught:
        infer_classes(find_dataset(folder.root))
    assert caught.value.code == "D13"


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


def test_counts_that_differ_are_warned_about_and_the_files_count(folder: Any) -> None:
    folder.declare(numTraining=12, numTest=2)
    dataset = find_dataset(folder.root)
    warning = only(dataset, "J6")
    assert warning.severity == "warning"
    assert "$.numTraining is 12, imagesTr holds 5 cases (3 with a mask)" in warning.problem
    assert len(dataset.cases) == 7


@pytest.mark.parametrize("count", [3, 5])
def test_the_count_may_include_unlabeled_cases_or_not(folder: Any, count: int) -> None:
    folder.declare(numTraining=count)
    assert "J6" not in {problem.code for problem in find_dataset(folder.root).problems}


def test_a_list_that_differs_names_the_first_five_differences(folder: Any) -> None:
    listed = ["a", *(f"gone{index}" for index in range(7))]
    folder.declare(training=[{"image": f"./imagesTr/{name}.nii.gz"} for name in listed], numTraining=None)
    text = only(find_dataset(folder.root), "J6").problem
    assert "$.training lists 8 cases, the files are 5" in text
    assert "listed without a file: gone0, gone1, gone2, gone3, gone4 and 2 more" in text
    assert "not listed: b, c, u, v" in text


def test_a_list_of_the_labeled_cases_alone_is_right(folder: Any) -> None:
    folder.declare(training=[{"image": f"./imagesTr/{name}.nii.gz"} for name in "abc"])
    assert "J6" not in {problem.code for problem in find_dataset(folder.root).problems}


def test_paths_that_leave_the_folder_are_named_and_not_followed(folder: Any) -> None:
    paths = ["../other/a.nii.gz", "/abs/b.nii.gz", "imagesTr/c.nii.gz"]
    folder.declare(training=[{"image": path} for path in paths])
    dataset = find_dataset(folder.root)
    assert "2 paths outside the dataset folder" in only(dataset, "J7").problem
    assert all(path.is_relative_to(folder.root) for case in dataset.cases for path in case.images)


def test_more_declared_channels_than_files_is_a_warning(folder: Any) -> None:
    folder.declare(channel_names={"0": "T1", "1": "T2"})
    dataset = find_dataset(folder.root)
    assert "declares 2 channels, the files have 1" in only(dataset, "J8").problem
    assert dataset.channel_names == ("T1",)


def test_unknown_keys_are_notes_with_the_near_match(folder: Any) -> None:
    folder.declare(numTrainin=3, numTraining=None)
    note = only(find_dataset(folder.root), "J4")
    assert note.severity == "note"
    assert "numTraining" in note.fix


def test_splits_json_is_read_with_either_spelling(folder: Any) -> None:
    for key in ("labelled", "labeled"):
        folder.json("splits.json", {"note": "x", "train": ["b", "a", "c"], "test": ["t", "w"], key: {"1": ["b"]}})
        dataset = find_dataset(folder.root)
        assert dataset.splits == {"train": ["b", "a", "c"], "test": ["t", "w"], "labeled": {"1": ["b"]}}
        assert {problem.code for problem in dataset.problems} == {"D3"}


def test_a_labeled_list_is_keyed_by_its_length(folder: Any) -> None:
    folder.json("splits.json", {"train": ["a", "b", "c"], "labeled": ["a", "b"]})
    dataset = find_dataset(folder.root)
    assert dataset.splits is not None
    assert dataset.splits["labeled"] == {"2": ["a", "b"]}


def test_a_case_in_the_test_list_is_a_test_case_wherever_it_lies(folder: Any) -> None:
    folder.json("splits.json", {"train": ["a", "b"], "test": ["c", "t", "w"]})
    dataset = find_dataset(folder.root)
    assert names(dataset, "test") == ["c", "t", "w"]
    assert names(dataset, "train") == ["a", "b"]


@pytest.mark.parametrize(("splits", "text"), [
    ({"train": ["a", "zz"]}, "names 1 case without files: zz"),
    ({"train": ["a", "t"], "test": ["t"]}, "in both the train and the test list: t"),
    ({"train": ["a", "b"], "val": ["b"]}, "in both the train and the val list: b"),
    ({"train": ["a", "a"]}, "names a twice"),
    ({"train": ["a", "t"]}, "names 1 case of imagesTs: t"),
    ({"train": ["a", "b"], "labeled": {"1": ["c"]}}, "outside the train list: c"),
    ({"train": ["a", "b"], "labeled": {"2": ["a"]}}, "'2' holds 1 case"),
    ({"train": "a"}, "$.train is not a list"),
    ({"train": ["a"], "labeled": {"x": ["a"]}}, "$.labeled is neither")])
def test_lists_that_contradict_files_or_themselves_are_errors(folder: Any, splits: dict, text: str) -> None:
    folder.json("splits.json", splits)
    found = [problem for problem in errors(find_dataset(folder.root)) if problem.code == "D12"]
    assert any(text in problem.problem for problem in found), found
    assert all(problem.subject == "splits.json" for problem in found)


def test_folds_of_nnunet_are_noted_as_not_used(folder: Any) -> None:
    folder.json("splits_final.json", [{"train": ["a"], "val": ["b"]}])
    dataset = find_dataset(folder.root)
    assert only(dataset, "D12").severity == "note"
    assert dataset.splits is None


def test_without_unlabeled_cases_only_supervised_fits_unless_a_list_hides_masks(folder: Any) -> None:
    folder.remove("imagesTr/u_0000.nii.gz", "imagesTr/v_0000.nii.gz")
    warning = only(find_dataset(folder.root), "D13")
    assert (warning.severity, "`supervised`" in warning.problem) == ("warning", True)
    folder.json("splits.json", {"train": ["a", "b", "c"], "labeled": {"1": ["a"]}})
    assert "D13" not in {problem.code for problem in find_dataset(folder.root).problems}


@pytest.mark.parametrize(("content", "code", "kind", "exit_code"), [
    (None, "D1", UsageError, 2), (b"x", "D1", UsageError, 2), ("empty", "D2", InputError, 3)])
def test_what_is_no_dataset_folder_is_refused(tmp_path: Path, content: Any, code: str, kind: type,
                                              exit_code: int) -> None:
    root = tmp_path / "data"
    if content == "empty":
        root.mkdir()
    elif content is not None:
        root.write_bytes(content)
    with pytest.raises(kind) as caught:
        find_dataset(root)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert str(root) in str(caught.value)


def test_a_folder_without_scans_lists_endings_and_files_seen(tmp_path: Path) -> None:
    for index in range(7):
        (tmp_path / f"file{index}.txt").write_text("x")
    with pytest.raises(InputError, match=r"\.nii\.gz, \.nii, \.nrrd, \.mha") as caught:
        find_dataset(tmp_path)
    assert "files seen: file0.txt, file1.txt, file2.txt, file3.txt, file4.txt" in caught.value.problem
    assert "file5" not in caught.value.problem


def test_a_folder_that_may_not_be_read_names_the_user_id(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ResourceError, match=f"user id {os.getuid()}") as caught:
        find_dataset(folder.root)
    assert (caught.value.code, caught.value.exit_code) == ("D1", 5)


def write_la(root: Path, name: str, *, label: bool = True) -> Path:
    path = root / name / "mri_norm2.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(len(name)).normal(size=(8, 9, 10)).astype(np.float32)
        if label:
            mask = np.zeros((8, 9, 10), np.uint8)
            mask[2:5, 2:5, 2:5] = 1
            file["label"] = mask
    return path


@pytest.mark.parametrize("place", ["root", "subfolder", "lists in parent"])
def test_the_literatures_la_layout_is_found(tmp_path: Path, place: str) -> None:
    cases = tmp_path if place == "root" else tmp_path / "2018LA_Seg_Training Set"
    for name in ("X1", "X2", "Y1", "Z1"):
        write_la(cases, name, label=name != "X2")
    (tmp_path / "train.list").write_text("X2\nX1\n\n")
    (tmp_path / "test.list").write_text("Y1\n")
    dataset = find_dataset(cases if place == "lists in parent" else tmp_path)
    assert (dataset.layout, dataset.channel_names, dataset.class_names) == ("la_h5", ("MRI",), None)
    assert [names(dataset, role) for role in ("train", "unlabeled", "test")] == [["X1"], ["X2"], ["Y1"]]
    assert dataset.splits == {"train": ["X2", "X1"], "test": ["Y1"]}
    assert dataset.cases[0].label == dataset.cases[0].images[0]
    assert "left out: Z1" in only(dataset, "D12").problem
    assert infer_classes(dataset) == ("background", "class_1")


def test_a_listed_la_case_without_a_file_is_an_error(tmp_path: Path) -> None:
    write_la(tmp_path, "X1")
    (tmp_path / "train.list").write_text("X1\nX9\n")
    found = [problem for problem in errors(find_dataset(tmp_path)) if problem.code == "D12"]
    assert "X9" in found[0].problem


def test_real_scans_of_the_left_atrium_are_understood(shared_data: Path) -> None:
    dataset = find_dataset(shared_data / "la_half")
    assert [len(names(dataset, role)) for role in ("train", "unlabeled", "test")] == [80, 0, 20]
    assert dataset.splits is not None
    assert sorted(dataset.splits["labeled"], key=int) == ["4", "8", "16"]
    assert dataset.problems == ()
