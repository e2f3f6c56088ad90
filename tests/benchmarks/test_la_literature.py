"""The literature's protocol in slices: each goes on from the last checkpoint; a row comes with a finished run only."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "la_literature.py"
TINY = ("network.width=4", "data.patch_size=16,16,16", "data.workers=0", "engine.threads=1", "engine.log_every=1")
NAME = "mean_teacher-default-labeled_3-seed_0-steps_30"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("la_literature")


@pytest.mark.slow
def test_slices_add_up_to_a_run_with_its_row(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    work, results = tmp_path / "work", tmp_path / "results.csv"
    run = work / "runs" / NAME
    words = [sys.executable, SCRIPT, make_dataset(), "--work", work, "--results", results, "--methods", "mean_teacher",
             "--labeled", 3, "--steps", 30, *(word for each in TINY for word in ("--set", each))]

    def call(*more: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([*map(str, words), *map(str, more)], capture_output=True, text=True, check=False,
                              env=environment, timeout=600)

    def saved() -> int:
        return max(int(path.parent.name) for path in (run / "checkpoints").glob("*/MANIFEST.json"))

    first = call("--steps-per-slice", 3)
    assert first.returncode == 75, first.stderr
    after_first = saved()
    assert 3 <= after_first < 30
    assert f"{NAME}: step {after_first} of 30" in first.stdout
    second = call("--steps-per-slice", 3)
    assert second.returncode == 75, second.stderr
    assert after_first + 3 <= saved() < 30
    assert not results.exists()
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["labeled"] == 3
    assert (config["data"]["validation"], config["profile"], config["engine"]["save_every"]) == (0, "default", 1)

    last = call()
    assert last.returncode == 0, last.stderr
    rows = list(csv.DictReader(results.open()))
    assert [(row["run"], row["steps"], row["labeled"]) for row in rows] == [(NAME, "30", "3")]
    assert 0 <= float(rows[0]["dice"]) <= 100
    assert f"{NAME}: Dice {float(rows[0]['dice']):.2f} %" in last.stdout
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 31)), "a slice goes on where the one before stopped"

    results.unlink()
    kept, removed = sorted((work / "predictions" / NAME).glob("*.nii.gz"))
    removed.unlink()
    written = kept.stat().st_mtime_ns
    again = call()
    assert again.returncode == 0, again.stderr
    assert removed.exists()
    assert kept.stat().st_mtime_ns == written, "cases that were predicted before time ran out are kept"
    assert list(csv.DictReader(results.open())) == rows


def test_a_command_is_stopped_when_the_slice_is_over(script: ModuleType) -> None:
    started = time.monotonic()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert not script.finished(sleep, script.Slice(started + 0.5, None))
    assert not script.finished(sleep, script.Slice(started + 60, 3), lambda: time.monotonic() > started + 1)
    assert time.monotonic() < started + 50
    assert script.finished([sys.executable, "-c", "pass"], script.Slice(started + 60, None))
    with pytest.raises(SystemExit) as caught:
        script.finished([sys.executable, "-c", "raise SystemExit(8)"], script.Slice(started + 60, None))
    assert caught.value.code == 8


def test_no_training_starts_in_the_last_minute(script: ModuleType) -> None:
    assert not script.Slice(time.monotonic() + 50, None).started_in_time()
    assert script.Slice(time.monotonic() + 70, None).started_in_time()


def test_published_numbers_are_shown_beside_runs(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = script.parse([str(tmp_path), "--work", str(tmp_path)])
    assert options.methods == ["supervised", "caml", "cml", "crln"]
    runs = [script.Run(method, "paper", None, options) for method in options.methods]
    results = tmp_path / "rows.csv"
    row = {"run": runs[1].name, "dice": 88.5, "jaccard": 80, "hd95_voxel": 9, "asd_voxel": 2}
    with results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, row)
        writer.writeheader()
        writer.writerow(row)
    script.show(runs, results)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "supervised-paper-labeled_8-seed_0: not started"
    assert "Dice 88.50 %" in lines[1]
    assert [number in line for number, line in zip(("89.62", "90.36", "91.74"), lines[1:], strict=True)] == [True] * 3


def test_a_second_call_in_the_same_folder_is_refused(script: ModuleType, tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="another call works in"):
            script.main([str(tmp_path), "--work", str(tmp_path)])
