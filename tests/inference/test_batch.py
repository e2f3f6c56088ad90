from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semivox.errors import InputError, PartialFailure, ResourceError, SemivoxError, UsageError
from semivox.imaging.plan import Plan
from semivox.inference.batch import predict_cases
from semivox.inference.cases import Job, find_inputs, plan_outputs
from semivox.inference.predictor import CaseResult, Predictor

WriteScan = Callable[[Path, np.ndarray, np.ndarray], None]
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def scans(tmp_path: Path, write_scan: WriteScan) -> Path:
    for index, name in enumerate(NAMES):
        array = np.random.default_rng(index).integers(0, 3, (9, 8, 7)).astype(np.float32)
        write_scan(tmp_path / "in" / f"{name}_0000.nii.gz", array, np.diag([-1.0, -1, 1, 1]))
    return tmp_path / "in"


@pytest.fixture
def predictor(make_plan: Callable[..., Plan], threshold_network: Callable[..., nn.Module]) -> Predictor:
    return Predictor(threshold_network(3), make_plan())


def jobs_for(source: Path, out: Path) -> list[Job]:
    return plan_outputs(find_inputs(source, 1), source, out)


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_every_case_is_written_and_reported(scans: Path, tmp_path: Path, predictor: Predictor) -> None:
    out, seen = tmp_path / "out", []
    results = predict_cases(predictor, jobs_for(scans, out), done=lambda job, outcome: seen.append((job, outcome)))
    assert [result.name for result in results] == NAMES
    assert [outcome for _, outcome in seen] == results
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.nii.gz" for name in NAMES]
    for name in NAMES:
        np.testing.assert_array_equal(labels(out / f"{name}.nii.gz"), labels(scans / f"{name}_0000.nii.gz"))


@pytest.mark.parametrize("bad", ["a", "c", "d"])
def test_a_bad_case_does_not_stop_the_others(bad: str, scans: Path, tmp_path: Path, predictor: Predictor) -> None:
    file, out = scans / f"{bad}_0000.nii.gz", tmp_path / "out"
    file.write_bytes(file.read_bytes()[:-20])
    outcomes: list[CaseResult | SemivoxError] = []
    with pytest.raises(PartialFailure, match=f"1 of 4 cases failed, first {bad}: ") as caught:
        predict_cases(predictor, jobs_for(scans, out), done=lambda _, outcome: outcomes.append(outcome))
    assert (caught.value.code, caught.value.exit_code) == ("P1", 4)
    good = [f"{name}.nii.gz" for name in NAMES if name != bad]
    assert sorted(path.name for path in out.iterdir()) == sorted([*good, "failed.json"])
    (failed,) = json.loads((out / "failed.json").read_text())["failed"]
    assert failed["case"] == bad
    assert failed["error"].startswith(f"ERROR SVX-{failed['code']}  ")
    assert [isinstance(outcome, InputError) for outcome in outcomes] == [name == bad for name in NAMES]


def test_the_list_of_failures_goes_away_when_all_is_well(scans: Path, tmp_path: Path, predictor: Predictor) -> None:
    file, out = scans / "b_0000.nii.gz", tmp_path / "out"
    content = file.read_bytes()
    file.write_bytes(b"")
    with pytest.raises(PartialFailure):
        predict_cases(predictor, jobs_for(scans, out))
    file.write_bytes(content)
    predict_cases(predictor, jobs_for(scans, out))
    assert not (out / "failed.json").exists()


@pytest.mark.parametrize("content", ["not JSON", "[]", "{}", '{"failed": 3}', '{"failed": [{"case": "a"}]}',
                                     '{"failed": [], "of": "another program"}'])
def test_a_failed_json_of_another_program_is_kept(content: str, scans: Path, tmp_path: Path,
                                                  predictor: Predictor) -> None:
    foreign = tmp_path / "out" / "failed.json"
    foreign.parent.mkdir()
    foreign.write_text(content)
    with pytest.raises(UsageError, match="no prediction wrote") as caught:
        predict_cases(predictor, jobs_for(scans, foreign.parent))
    assert (caught.value.code, caught.value.exit_code) == ("P8", 2)
    assert foreign.read_text() == content
    assert list(foreign.parent.iterdir()) == [foreign]


def test_the_error_of_a_single_case_is_the_error_of_the_command(scans: Path, tmp_path: Path,
                                                                predictor: Predictor) -> None:
    file, out = scans / "a_0000.nii.gz", tmp_path / "out"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError) as caught:
        predict_cases(predictor, jobs_for(file, out))
    assert caught.value.exit_code == 3
    assert not out.exists()


def test_a_case_with_a_missing_channel_fails_alone(scans: Path, tmp_path: Path, predictor: Predictor) -> None:
    (scans / "b_0001.nii.gz").write_bytes((scans / "b_0000.nii.gz").read_bytes())
    with pytest.raises(PartialFailure, match="1 of 4 cases failed, first b: found channels _0000, _0001"):
        predict_cases(predictor, jobs_for(scans, tmp_path / "out"))
    assert (tmp_path / "out" / "d.nii.gz").exists()


@pytest.mark.parametrize(("failure", "code"), [(MemoryError(), "P5"), (torch.OutOfMemoryError("x"), "C9"),
                                               (OSError(28, "No space left on device"), "P5")])
def test_lack_of_memory_or_disk_is_said_in_one_line(failure: Exception, code: str, scans: Path, tmp_path: Path,
                                                    make_plan: Callable[..., Plan]) -> None:
    class Failing(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise failure

    job = jobs_for(scans / "a_0000.nii.gz", tmp_path / "out")
    with pytest.raises(ResourceError) as caught:
        predict_cases(Predictor(Failing(), make_plan()), job)
    assert (caught.value.code, caught.value.exit_code) == (code, 5)


def test_a_fault_of_the_program_is_not_hidden(scans: Path, tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    class Faulty(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise KeyError("fault")

    with pytest.raises(KeyError):
        predict_cases(Predictor(Faulty(), make_plan()), jobs_for(scans, tmp_path / "out"))


def test_no_cases_give_no_results(predictor: Predictor) -> None:
    assert predict_cases(predictor, []) == []
