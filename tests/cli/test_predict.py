from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semivox.cli import run
from semivox.imaging.plan import ChannelPlan, Plan

CHANNEL = ChannelPlan(name="image", scheme="none", mean=0, std=1, percentile_00_5=0, percentile_99_5=0)
PLAN = Plan(recipe="test", dimensions=3, channels=(CHANNEL,), class_names=("background", "organ"), spacing_mm=None,
            spacing_known=True, patch_size=(8, 8, 8), strides=(4, 4, 4), labeled_per_batch=1, unlabeled_per_batch=1,
            network="vnet")


class SeenList(list):
    """What was seen by a network and by its copies."""

    def __deepcopy__(self, memo):
        return self


class SeenSet(set):
    """The same, in no order."""

    def __deepcopy__(self, memo):
        return self


class Threshold(nn.Module):
    """Class 1 where the intensity is above 0.5; notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = SeenList()
        self.bf16: set[bool] = SeenSet()

    def forward(self, image: Tensor) -> Tensor:
        self.batches.append(len(image))
        self.bf16.add(torch.is_autocast_enabled("cpu"))
        high = (image > 0.5).float()
        return torch.cat([1 - high, high], 1)


class Deployed(NamedTuple):
    network: Threshold
    plan: Plan
    precision: str
    weights: str = "last"


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """Stands for a finished run; loading real ones is tested with the engine."""
    content = Deployed(Threshold(), PLAN, "fp32")
    monkeypatch.setattr("semivox.engine.deploy.load_deployed", lambda *_: content)
    return content


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("a", "b")):
        array = np.random.default_rng(seed).random((12, 9, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), folder / f"{name}_0000.nii.gz")
    return folder


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_folder_in_label_maps_out(deployed: Deployed, scans: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["predict", "RUN", str(scans), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    np.testing.assert_array_equal(voxels(out / "a.nii.gz"), voxels(scans / "a_0000.nii.gz") > 0.5)
    assert f"2 label maps written to {out}" in capsys.readouterr().out


def test_one_scan_to_one_file(deployed: Deployed, scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "mask.mha"
    assert run(["predict", "RUN", str(scans / "a_0000.nii.gz"), str(target)]) == 0
    assert target.is_file()


def test_results_are_replaced_only_on_request(deployed: Deployed, scans: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.nii.gz").write_bytes(b"mine")
    assert run(["predict", "RUN", str(scans), str(out)]) == 2
    assert "SVX-P8" in capsys.readouterr().err
    assert (out / "a.nii.gz").read_bytes() == b"mine"
    assert not (out / "b.nii.gz").exists()
    assert run(["predict", "RUN", str(scans), str(out), "--overwrite"]) == 0
    assert voxels(out / "a.nii.gz").shape == (12, 9, 8)


def test_a_bad_scan_exits_4_and_names_it(deployed: Deployed, scans: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    file, out = scans / "a_0000.nii.gz", tmp_path / "out"
    file.write_bytes(file.read_bytes()[:-9])
    assert run(["predict", "RUN", str(scans), str(out)]) == 4
    error = capsys.readouterr().err
    assert "ERROR SVX-P1" in error
    assert str(file) in error
    assert "Traceback" not in error
    assert json.loads((out / "failed.json").read_text())["failed"][0]["case"] == "a"
    assert (out / "b.nii.gz").exists()


def test_nothing_to_predict_exits_3(deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "RUN", str(tmp_path), str(tmp_path / "out")]) == 3
    assert "SVX-D2" in capsys.readouterr().err


def test_warnings_go_to_stderr(deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = tmp_path / "flat.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)), scan)
    assert run(["predict", "RUN", str(scan), str(tmp_path / "out")]) == 0
    assert "WARNING SVX-I19" in capsys.readouterr().err


def test_flips_batch_and_overlap_reach_the_windows(deployed: Deployed, scans: Path, tmp_path: Path) -> None:
    scan, batches = scans / "a_0000.nii.gz", deployed.network.batches
    assert run(["predict", "RUN", str(scan), str(tmp_path / "1"), "--batch", "3"]) == 0
    assert batches == [3, 1]  # starts 0, 4 along x and 0, 1 along y
    batches.clear()
    assert run(["predict", "RUN", str(scan), str(tmp_path / "2"), "--batch", "4", "--flips"]) == 0
    assert batches == [4] * 8
    batches.clear()
    assert run(["predict", "RUN", str(scan), str(tmp_path / "3"), "--batch", "99", "--overlap", "0.875"]) == 0
    assert batches == [5 * 2]
    assert run(["predict", "RUN", str(scan), str(tmp_path / "4"), "--overlap", "1"]) == 2


@pytest.mark.parametrize(("trained", "asked", "native", "bf16"), [
    ("fp32", "auto", True, False), ("bf16", "auto", True, True), ("bf16", "auto", False, False),
    ("fp32", "bf16", False, True), ("bf16", "fp32", True, False),
])
def test_precision_is_the_trainings_unless_asked(
    trained: str, asked: str, native: bool, bf16: bool, deployed: Deployed, scans: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("semivox.engine.deploy.load_deployed", lambda *_: deployed._replace(precision=trained))
    monkeypatch.setattr("semivox.inference.precision.bf16_is_native", lambda _: native)
    arguments = ["predict", "RUN", str(scans), str(tmp_path / "out"), "--precision", asked, "--device", "cpu"]
    assert run(arguments) == 0
    assert deployed.network.bf16 == {bf16}


def test_probabilities_are_written_on_request(deployed: Deployed, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["predict", "RUN", str(scans), str(out), "--probabilities"]) == 0
    names = sorted(path.name for path in (out / "probabilities").iterdir())
    assert names == [f"{case}_prob_{number}.nii.gz" for case in "ab" for number in (0, 1)]


@pytest.mark.parametrize("arguments", [["--precision", "fp16"], ["--device", "tpu"], ["--batch", "0"],
                                       ["--weights", "first"]])
def test_wrong_options_exit_2_before_the_run_is_opened(arguments: list[str], scans: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(tmp_path / "no_run"), str(scans), str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert arguments[0].lstrip("-") in error
    assert "no_run" not in error


@pytest.mark.parametrize(("planned", "flag", "pieces"), [
    (False, [], 2), (True, [], 1), (False, ["--largest-component"], 1), (True, ["--no-largest-component"], 2),
])
def test_the_plan_or_a_flag_keeps_only_the_largest_component(
    planned: bool, flag: list[str], pieces: int, deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_of_plan = deployed._replace(plan=replace(PLAN, largest_component=planned))
    monkeypatch.setattr("semivox.engine.deploy.load_deployed", lambda *_: run_of_plan)
    array = np.zeros((12, 9, 8), np.float32)
    array[1:5, 1:5, 1:5] = array[8:10, 6:8, 6:8] = 1
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "x_0000.nii.gz")
    assert run(["predict", "RUN", str(tmp_path / "x_0000.nii.gz"), str(tmp_path / "out"), *flag]) == 0
    assert voxels(tmp_path / "out" / "x.nii.gz").sum() == {1: 64, 2: 72}[pieces]


def test_weights_are_chosen_by_name_and_named_in_the_summary(
    deployed: Deployed, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str]] = []

    def load(path: Path, weights: str) -> Deployed:
        asked.append((str(path), weights))
        return deployed._replace(weights=f"{weights} (step 500)")

    monkeypatch.setattr("semivox.engine.deploy.load_deployed", load)
    assert run(["predict", "RUN", str(scans), str(tmp_path / "1")]) == 0
    assert ", weights " not in capsys.readouterr().out
    assert run(["predict", "RUN", str(scans), str(tmp_path / "2"), "--weights", "best_validation"]) == 0
    assert f"2 label maps written to {tmp_path / '2'}, weights best_validation (step 500) (" in capsys.readouterr().out
    assert asked == [("RUN", "last"), ("RUN", "best_validation")]
