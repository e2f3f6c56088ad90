from __future__ import annotations

from pathlib import Path

import pytest

from semivox.errors import InputError, UsageError
from semivox.evaluation.pairs import check_grids, find_pairs, label_maps
from semivox.imaging.files import write_label


def test_files_match_by_base_name_whatever_their_ending(folders) -> None:
    folders.add("b", folders.cube(1, 4), folders.cube(1, 4), endings=(".nrrd", ".nii.gz"))
    folders.add("a.1", folders.cube(1, 4), folders.cube(1, 4), endings=(".mha", ".nii"))
    (folders.predictions / "notes.txt").write_text("no label map")
    (folders.predictions / "._b.nii.gz").write_bytes(b"")
    pairs, extra = find_pairs(folders.predictions, folders.references, missing="error")
    assert [(pair.case, pair.prediction.name, pair.reference.name) for pair in pairs] == [
        ("a.1", "a.1.mha", "a.1.nii"), ("b", "b.nrrd", "b.nii.gz")]
    assert extra == []


def test_a_missing_prediction_is_an_error_that_names_the_case(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    folders.add("b", None, folders.cube(1, 4))
    with pytest.raises(InputError, match="no prediction for 1 of 2 references: b") as raised:
        find_pairs(folders.predictions, folders.references, missing="error")
    assert (raised.value.code, raised.value.exit_code) == ("P9", 3)
    assert "--missing worst" in raised.value.fix


def test_a_missing_prediction_can_count_as_an_empty_one(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    folders.add("b", None, folders.cube(1, 4))
    pairs, _ = find_pairs(folders.predictions, folders.references, missing="worst")
    assert [pair.prediction is None for pair in pairs] == [False, True]


def test_predictions_without_a_reference_are_named(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    write_label(folders.predictions / "z.nii.gz", folders.cube(1, 4), folders.geometry)
    assert find_pairs(folders.predictions, folders.references, missing="error")[1] == ["z"]


def test_one_case_in_two_files_is_refused(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4), endings=(".nrrd", ".nii.gz"))
    with pytest.raises(InputError, match=r"case 'a' twice: a\.nii\.gz and a\.nrrd") as raised:
        label_maps(folders.predictions)
    assert raised.value.code == "D6"


def test_folders_that_cannot_be_meant_are_refused(folders, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        find_pairs(tmp_path / "nowhere", folders.references, missing="error")
    with pytest.raises(InputError, match="holds no label map"):
        find_pairs(folders.predictions, folders.references, missing="error")
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    with pytest.raises(UsageError, match="predictions and of references"):
        find_pairs(folders.references, folders.references, missing="error")


def test_another_shape_is_refused_with_both_shapes(folders) -> None:
    folders.add("a", folders.cube(1, 4)[:-1], folders.cube(1, 4))
    pairs, _ = find_pairs(folders.predictions, folders.references, missing="error")
    with pytest.raises(InputError, match="11 x 14 x 10, the reference 12 x 14 x 10") as raised:
        check_grids(pairs)
    assert (raised.value.code, raised.value.subject) == ("P9", "case a")


def test_another_grid_is_refused_with_the_distance_of_the_corners(folders) -> None:
    for case in ("a", "b"):
        folders.add(case, None, folders.cube(1, 4))
        moved = folders.geometry._replace(origin_mm=(5.0, -7.0, 14.0))
        write_label(folders.predictions / f"{case}.nrrd", folders.cube(1, 4), moved)
    pairs, _ = find_pairs(folders.predictions, folders.references, missing="error")
    with pytest.raises(InputError, match=r"up to 3 mm apart .*\(1 more case with such a fault\)") as raised:
        check_grids(pairs)
    assert raised.value.code == "P9"


def test_rounding_of_formats_is_no_other_grid(folders) -> None:
    folders.add("a", None, folders.cube(1, 4))
    moved = folders.geometry._replace(origin_mm=(5.0, -7.0, 11.0 + 5e-4))
    write_label(folders.predictions / "a.nrrd", folders.cube(1, 4), moved)
    pairs, _ = find_pairs(folders.predictions, folders.references, missing="error")
    assert [header.shape for header in check_grids(pairs)] == [folders.shape]
