"""nnU-Net and Decathlon folders: which files are which case."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from findings import errors, names, only

from semivox.data.dataset import find_dataset


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


def test_more_declared_channels_than_files_is_a_warning(folder: Any) -> None:
    folder.declare(channel_names={"0": "T1", "1": "T2"})
    dataset = find_dataset(folder.root)
    assert "declares 2 channels, the files have 1" in only(dataset, "J8").problem
    assert dataset.channel_names == ("T1",)
