from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medpy.metric import binary as medpy

from semivox.errors import InputError, UsageError
from semivox.evaluation.evaluate import RESULT_FILES, evaluate
from semivox.imaging.files import read_label
from semivox.metrics.conventions import MEASURES

DIAGONAL_MM = math.hypot(12 * 1.0, 14 * 2.0, 10 * 2.5)


def run(folders, **options: object):
    return evaluate(folders.predictions, folders.references, folders.out, **options)  # type: ignore[arg-type]


def table(folders) -> dict[tuple[str, str], dict[str, str]]:
    with open(folders.out / "cases.csv", newline="", encoding="utf-8") as stream:
        return {(row["case"], row["class"]): row for row in csv.DictReader(stream)}


def test_cases_csv_has_a_row_for_each_case_and_class(scored: Callable) -> None:
    folders = scored()
    run(folders)
    rows = table(folders)
    assert list(rows) == [(case, label) for case in ("good", "missed", "shifted", "spurious") for label in "12"]
    first = ["case", "class", *MEASURES, "missed", "kind"]
    assert list(rows["good", "1"])[: len(first)] == first
    assert {name: rows["good", "1"][name] for name in ("dice", "jaccard", "nsd", "hd95_mm", "missed", "kind")} == {
        "dice": "100.0", "jaccard": "100.0", "nsd": "100.0", "hd95_mm": "0.0", "missed": "0", "kind": "ok"}
    assert float(rows["shifted", "1"]["dice"]) == pytest.approx(75.0)
    assert float(rows["shifted", "1"]["jaccard"]) == pytest.approx(60.0)
    assert rows["good", "1"]["reference_voxels"] == "64"
    assert float(rows["good", "1"]["reference_ml"]) == pytest.approx(64 * 5.0 / 1000)
    assert rows["good", "2"]["class_name"] == "left = right"


def test_absent_structures_in_the_table(scored: Callable) -> None:
    folders = scored()
    run(folders)
    rows = table(folders)
    for case, label, kind in (("missed", "2", "missed"), ("spurious", "1", "spurious")):
        row = rows[case, label]
        assert (row["dice"], row["nsd"], row["missed"], row["kind"]) == ("0.0", "0.0", "1", kind)
        assert float(row["assd_mm"]) == pytest.approx(DIAGONAL_MM)
        assert float(row["hd95_voxel"]) == pytest.approx(math.hypot(*folders.shape))
    empty = rows["spurious", "2"]
    assert [empty[name] for name in MEASURES] == [""] * len(MEASURES)
    assert (empty["missed"], empty["kind"]) == ("0", "empty")


def test_full_precision_equals_medpy_from_files(folders) -> None:
    rng = np.random.default_rng(5)
    for case in ("a", "b"):
        masks = [(rng.random(folders.shape) > 0.6).astype(np.uint8) for _ in range(2)]
        folders.add(case, *masks)
    run(folders)
    for case in ("a", "b"):
        row = table(folders)[case, "1"]
        prediction, reference = (
            read_label(folder / f"{case}.nii.gz").array > 0 for folder in (folders.predictions, folders.references))
        assert float(row["dice"]) == pytest.approx(100 * medpy.dc(prediction, reference), abs=1e-9)
        for name in ("hd95", "asd", "assd"):
            assert float(row[f"{name}_voxel"]) == pytest.approx(getattr(medpy, name)(prediction, reference), abs=1e-6)
            measured = getattr(medpy, name)(prediction, reference, folders.geometry.spacing_mm)
            assert float(row[f"{name}_mm"]) == pytest.approx(measured, abs=1e-6)


def test_summary_json_is_a_superset_of_nnunets(scored: Callable) -> None:
    folders = scored()
    run(folders)
    text = (folders.out / "summary.json").read_text()
    assert not any(word in text for word in ("NaN", "Infinity"))
    content = json.loads(text)
    theirs = {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"}
    assert theirs <= set(content["foreground_mean"])
    assert set(content["mean"]) == {"1", "2"}
    assert all(theirs <= set(mean) for mean in content["mean"].values())
    case = content["metric_per_case"][2]
    assert case["prediction_file"] == str(folders.predictions / "shifted.nrrd")
    assert case["reference_file"] == str(folders.references / "shifted.nii.gz")
    counts = {name: case["metrics"]["1"][name] for name in theirs}
    assert counts == {"Dice": 0.75, "IoU": 0.6, "TP": 48, "FP": 16, "FN": 16, "TN": 1600, "n_pred": 64, "n_ref": 64}
    assert content["metric_per_case"][3]["metrics"]["2"]["Dice"] is None
    assert content["mean"]["1"]["Dice"] == pytest.approx((1 + 1 + 0.75 + 0) / 4)
    assert content["mean"]["2"]["Dice"] == pytest.approx((1 + 1 + 0) / 3)
    assert content["foreground_mean"]["Dice"] == pytest.approx((2.75 / 4 + 2 / 3) / 2)
    assert content["mean"]["1"]["TP"] == pytest.approx((64 + 64 + 48 + 0) / 4)


def test_summary_json_says_how_it_was_measured(scored: Callable) -> None:
    folders = scored()
    found = run(folders, tolerance_mm=1.5)
    content = json.loads((folders.out / "summary.json").read_text())
    assert (content["protocol"], content["tolerance_mm"], content["legacy"]) == ("clinical", 1.5, False)
    assert "diagonal" in content["definitions"]["absent"]
    assert [content[name] for name in ("n", "n_missed", "n_spurious", "n_empty")] == [4, 1, 1, 1]
    assert content["classes"]["2"]["n"] == 3
    assert content["classes"]["2"]["name"] == "left = right"
    assert content["classes"]["1"]["std"]["dice"] == pytest.approx(found.statistic("dice", 1).std / 100)


def test_legacy_zeros_reach_every_output(scored: Callable) -> None:
    folders = scored()
    found = run(folders, legacy=True, protocol="literature")
    rows = table(folders)
    assert {rows[key]["hd95_voxel"] for key in (("missed", "2"), ("spurious", "1"), ("spurious", "2"))} == {"0.0"}
    assert rows["missed", "2"]["missed"] == "1"
    content = json.loads((folders.out / "summary.json").read_text())
    assert content["legacy"] is True
    assert "zero" in content["definitions"]["absent"] or "0" in content["definitions"]["absent"]
    assert found.statistic("dice", 2).n == 4


def test_processes_change_nothing(scored: Callable) -> None:
    folders = scored()
    assert run(folders) == run(folders, workers=2, overwrite=True)


def test_a_missing_prediction_counts_as_empty_when_asked(scored: Callable) -> None:
    folders = scored()
    os.unlink(folders.predictions / "good.nii.gz")
    with pytest.raises(InputError, match="no prediction for 1 of 4 references: good"):
        run(folders)
    assert not folders.out.exists()
    found = run(folders, missing="worst")
    assert table(folders)["good", "1"]["kind"] == "missed"
    assert any("Without a prediction, counted as empty: good" in note for note in found.notes)


def test_undeclared_labels_are_refused_for_both_sides(folders) -> None:
    folders.declare({"background": 0, "liver": 1})
    folders.add("a", folders.cube(1, 4, 255), folders.cube(1, 4))
    with pytest.raises(InputError, match=r"255 \(48 voxels\)") as raised:
        run(folders)
    assert (raised.value.code, raised.value.exit_code) == ("P11", 3)
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4, 3))
    with pytest.raises(InputError, match=r"label 3 \(48 voxels\)"):
        run(folders)


def test_a_label_of_no_reference_is_refused_when_nothing_declares_it(folders) -> None:
    folders.add("a", folders.cube(1, 4, 2), folders.cube(1, 4))
    with pytest.raises(InputError, match="the classes are 1"):
        run(folders, workers=1)


def test_undeclared_classes_come_from_the_references(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    folders.add("b", folders.cube(1, 4), folders.both(folders.cube(1, 4), folders.cube(6, 8, 3)))
    found = run(folders)
    assert found.names == {1: "1", 3: "3"}
    assert found.counts(3) == (1, 1, 0, 1)


def test_unknown_spacing_leaves_mm_blank_and_needs_the_literature_protocol(
    folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox.evaluation import evaluate as module
    from semivox.evaluation.classes import Declared

    folders.add("a", folders.cube(1, 4), folders.cube(2, 5))
    monkeypatch.setattr(module, "declared_beside", lambda _: Declared(None, spacing_known=False))
    with pytest.raises(InputError, match="spacing is unknown") as raised:
        run(folders)
    assert raised.value.code == "P12"
    found = run(folders, protocol="literature")
    row = table(folders)["a", "1"]
    assert [row[name] for name in ("hd95_mm", "asd_mm", "assd_mm", "nsd", "reference_ml")] == [""] * 5
    assert float(row["hd95_voxel"]) == 1.0
    assert any("spacing is unknown" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"protocol": "clincal"}, "did you mean 'clinical'"),
        ({"missing": "best"}, "'best' is unknown"),
        ({"tolerance_mm": -1.0}, "expected a number >= 0"),
        ({"tolerance_mm": math.nan}, "expected a number >= 0"),
        ({"workers": 0}, "at least 1"),
        ({"images": Path("nowhere")}, "not a folder"),
    ],
)
def test_options_out_of_range_are_refused(folders, options: dict, problem: str) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    with pytest.raises(UsageError, match=problem):
        run(folders, **options)


def test_results_are_replaced_only_when_asked(folders) -> None:
    folders.add("a", folders.cube(1, 4), folders.cube(1, 4))
    folders.out.mkdir()
    (folders.out / "mine.txt").write_text("keep")
    run(folders)
    with pytest.raises(UsageError, match=r"already holds cases\.csv, summary\.json, overlay\.png") as raised:
        run(folders)
    assert raised.value.code == "P8"
    run(folders, overwrite=True)
    assert sorted(path.name for path in folders.out.iterdir()) == sorted([*RESULT_FILES, "mine.txt"])
