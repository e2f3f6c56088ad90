"""Lists that come with a dataset: what they mean and what contradicts them."""

from __future__ import annotations

from typing import Any

import pytest
from findings import errors, names, only

from semivox.data.dataset import find_dataset


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
    ({"train": ["a"], "val": ["u"]}, "the val list names 1 case without a mask: u"),
    ({"labeled": {"1": ["u"]}}, "the labeled[1] list names 1 case without a mask: u"),
    ({"val": ["b"], "labeled": {"1": ["b"]}}, "in both the labeled[1] and the val list: b"),
    ({"test": ["b"], "labeled": {"1": ["b"]}}, "in both the labeled[1] and the test list: b"),
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
