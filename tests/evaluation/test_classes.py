from __future__ import annotations

import json
from pathlib import Path

import pytest

from semivox.errors import InputError
from semivox.evaluation.classes import check_values, declared_beside, names_from_masks


@pytest.mark.parametrize(
    "labels", [{"background": 0, "liver": 1, "tumor": 2}, {"0": "background", "1": "liver", "2": "tumor"}]
)
@pytest.mark.parametrize("above", [False, True])
def test_classes_of_a_dataset_json_in_or_above_the_folder(folders, labels: dict, above: bool) -> None:
    folder = folders.references.parent if above else folders.references
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert declared_beside(folders.references) == ({1: "liver", 2: "tumor"}, True)


def test_nothing_is_declared_without_a_file(folders) -> None:
    assert declared_beside(folders.references).names is None


def test_a_damaged_dataset_json_is_refused(folders) -> None:
    (folders.references / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="line 1"):
        declared_beside(folders.references)


def test_the_plan_of_a_store_declares_classes_and_whether_the_spacing_is_known(folders) -> None:
    root = folders.references.parent
    channel = {"name": "MR", "scheme": "zscore", "mean": 0, "std": 1, "percentile_00_5": -1, "percentile_99_5": 1}
    plan = {"format": 1, "recipe": "la", "dimensions": 3, "channels": [channel],
            "class_names": ["background", "atrium"], "spacing_mm": None, "spacing_known": False,
            "patch_size": [16, 16, 16], "strides": None, "overlap": 0.5,
            "window": "uniform", "labeled_per_batch": 2, "unlabeled_per_batch": 2, "network": "vnet"}
    (root / "plan.json").write_text(json.dumps(plan))
    assert declared_beside(folders.references).names is None
    (root / "store.json").write_text("{}")
    assert declared_beside(folders.references) == ({1: "atrium"}, False)


def test_classes_of_the_masks_are_the_values_of_all_references(folders) -> None:
    folders.add("a", None, folders.cube(1, 4))
    folders.add("b", None, folders.both(folders.cube(1, 4), folders.cube(6, 8, 7)))
    assert names_from_masks(sorted(folders.references.iterdir())) == {1: "1", 7: "7"}


def test_references_without_any_structure_are_refused(folders) -> None:
    folders.add("a", None, folders.nothing)
    with pytest.raises(InputError, match="nothing|anything but background"):
        names_from_masks(folders.references.iterdir())


def test_values_that_are_no_class_are_refused_with_their_voxels(folders) -> None:
    check_values(folders.cube(1, 4), Path("a.nii"), {1: "liver", 2: "tumor"})
    with pytest.raises(InputError, match=r"label 255 \(48 voxels\); the classes are 1 \(liver\)") as raised:
        check_values(folders.cube(1, 4, 255), Path("a.nii"), {1: "liver"})
    assert raised.value.code == "P11"
