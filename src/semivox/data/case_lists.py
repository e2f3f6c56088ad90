"""The lists of a dataset that its store keeps: training order, validation cases, labeled subsets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from semivox.data.cases import Dataset


def train_list(dataset: Dataset) -> list[str]:
    """The training cases in the order in which labeled ones are taken: the dataset's list, or those with a mask."""
    training = dataset.of_role("train", "unlabeled")
    listed = (dataset.splits or {}).get("train")
    if listed:
        known = {case.name for case in training}
        return [name for name in listed if name in known]
    reserved = set((dataset.splits or {}).get("val", ()))
    return sorted(case.name for case in training if case.label is not None and case.name not in reserved)


def kept_lists(dataset: Dataset, written: Collection[str]) -> dict[str, Any]:
    """The dataset's own lists for validation and labeled subsets; nothing where it has none."""
    splits, lists = dataset.splits or {}, {}
    if splits.get("val"):
        lists["val"] = [name for name in splits["val"] if name in written]
    if splits.get("labeled"):
        lists["labeled"] = splits["labeled"]
    return lists


def decisive_lists(lists: dict[str, Any], order: list[str]) -> dict[str, Any]:
    """The lists without the labeled subsets that say what the train list says: they change no split."""
    subsets = {count: names for count, names in lists.get("labeled", {}).items() if names != order[:int(count)]}
    return {**lists, "labeled": subsets} if subsets else {key: lists[key] for key in lists if key != "labeled"}
