"""``semivox compare`` on other machines: what it refuses at once, and what it leaves to be submitted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semivox.cli import run
from semivox.matrix import read_matrix

ASKED = ["--methods", "supervised", "--labeled", "2", "--steps", "4"]


@pytest.mark.parametrize(("options", "problem"), [
    (["--executor", "ray"], "SVX-C8  --executor ray: Ray is not installed.  Fix: pip install 'semivox[cluster]'"),
    (["--executor", "ray", "--ray-options", "gpu=1"], "SVX-C1  --ray-options: found 'gpu=1'"),
    (["--executor", "slurm", "--slurm-options", "-t 1:00"], "SVX-C1  --slurm-options: found '-t'"),
])
def test_what_no_cluster_could_do_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str],
    problem: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(["compare", str(tmp_path / "no_store"), str(tmp_path / "out"), *ASKED, *options]) == 2
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_array_job_is_written_where_nothing_can_be_submitted(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    options = ["--executor", "slurm", "--jobs", "3", "--slurm-options", "--time=1:00:00 --gpus=0"]
    assert run(["compare", str(toy_store.path), str(out), *ASKED, *options]) == 0
    printed = capsys.readouterr().out
    script = out / "slurm" / "array-001.sbatch"
    assert f"sbatch {script}" in printed
    text = script.read_text()
    assert "#SBATCH --time=1:00:00\n" in text
    assert "#SBATCH --array=1-2%3\n" in text
    assert "--gpus" not in text
    assert script.with_suffix(".txt").read_text().splitlines() == [spec.path for spec in read_matrix(out).runs]
