"""A dataset folder as a whole: classes, amounts, and folders that are none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from findings import names, only

from semivox.data.dataset import find_dataset, infer_classes, names_from_values
from semivox.errors import InputError, ResourceError, UsageError


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


def test_real_scans_of_the_left_atrium_are_understood(shared_data: Path) -> None:
    dataset = find_dataset(shared_data / "la_half")
    assert [len(names(dataset, role)) for role in ("train", "unlabeled", "test")] == [80, 0, 20]
    assert dataset.splits is not None
    assert sorted(dataset.splits["labeled"], key=int) == ["4", "8", "16"]
    assert dataset.problems == ()
