import json

import pytest
from synthetic import synthetic_comparison

from semivox.errors import InputError
from semivox.matrix import RunSpec
from semivox.report.scores import read_scores

HEADER = ("case,class,dice,jaccard,hd95_voxel,asd_voxel,assd_voxel,hd95_mm,asd_mm,assd_mm,nsd,missed,kind,"
          "prediction_voxels,reference_voxels,prediction_ml,reference_ml,class_name\n")
ROWS = ("'-a,1,80.0,70.0,1.0,1.0,1.0,,,,,0,ok,10,10,,,liver\n"
        "'-a,2,0.0,0.0,9.0,9.0,9.0,,,,,1,missed,0,10,,,'=left\n"
        "b,1,60.0,50.0,2.0,2.0,2.0,,,,,0,ok,10,10,,,liver\n"
        "b,2,,,,,,,,,,0,empty,0,0,,,'=left\n"
        "c,1,,,,,,,,,,0,empty,0,0,,,liver\n"
        "c,2,,,,,,,,,,0,empty,0,0,,,'=left\n")
SUMMARY = {"protocol": "literature", "legacy": False, "tolerance_mm": 2.0}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cases.csv").write_text(HEADER + ROWS)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path


def test_case_scores_are_means_over_the_classes_that_are_defined(folder):
    found = read_scores(folder)
    assert found.by_case("dice") == {"-a": 40.0, "b": 60.0, "c": None}
    assert found.by_case("dice", 2) == {"-a": 0.0, "b": None, "c": None}
    assert found.over_cases("dice").mean == pytest.approx(50)
    assert found.over_cases("dice").n == 2
    assert found.by_case("hd95_mm") == dict.fromkeys(["-a", "b", "c"])


def test_missed_structures_are_counted_of_those_that_there_are(folder):
    found = read_scores(folder)
    assert (found.missed(), found.structures()) == (1, 3)
    assert (found.missed(1), found.structures(1)) == (0, 2)


def test_names_lose_the_mark_against_formulas(folder):
    assert read_scores(folder).class_names == {1: "liver", 2: "=left"}


def test_what_evaluate_writes_is_read_back_in_full(tmp_path):
    matrix = synthetic_comparison(tmp_path / "out", seeds=(0,), cases=3, classes=3, protocol="clinical", validation=0)
    spec: RunSpec = matrix.runs[0]
    found = read_scores(tmp_path / "out" / spec.path / "scores" / "last")
    summary = json.loads((tmp_path / "out" / spec.path / "scores" / "last" / "summary.json").read_text())
    assert found.protocol == "clinical"
    assert found.over_cases("dice", 2).mean == pytest.approx(100 * summary["classes"]["2"]["mean"]["dice"])
    assert found.over_cases("hd95_mm", 1).std == pytest.approx(summary["classes"]["1"]["std"]["hd95_mm"])
    assert all(row.reference_ml > 0 for row in found.rows)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("class_name\n", "name\n", "no class_name"), ("80.0", "eighty", "eighty"), ("80.0", "nan", "found nan"),
    (",10,10,,,liver\nb", "\nb", "no prediction_voxels"),
])
def test_a_file_that_is_no_table_of_cases_is_refused_with_what_is_wrong(folder, old, new, said):
    content = (folder / "cases.csv").read_text()
    assert old in content
    (folder / "cases.csv").write_text(content.replace(old, new, 1))
    with pytest.raises(InputError, match=f"SVX-P13.*{said}"):
        read_scores(folder)


def test_missing_files_are_refused(folder):
    (folder / "cases.csv").unlink()
    with pytest.raises(InputError, match="not found"):
        read_scores(folder)
