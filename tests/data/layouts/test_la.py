"""The literature's LA layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from findings import errors, names, only

from semivox.data.dataset import find_dataset, infer_classes


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
