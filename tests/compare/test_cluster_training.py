"""Real training on stand-ins for a cluster: runs that are stopped or lost on the way end complete."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from cluster_material import Slurm, kill_machine_of, ray_cluster_of_two, wait_until
from matrix_material import tiny_comparison

from semivox.compare import ray_cluster
from semivox.compare.execution import Options
from semivox.compare.slurm import write_array
from semivox.matrix import read_job

STEPS = 60
STEP = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1",
        "SLURM_JOB_NAME": "semivox", "SLURM_JOB_NODELIST": "node1"}
"""What a job that srun starts finds around it, and Lightning reads."""


@pytest.fixture
def runs(toy_store: Any, tmp_path: Path) -> tuple[Path, list[str]]:
    """Folder and runs of a comparison of supervised training with few and with all labels."""
    matrix = tiny_comparison(toy_store, tmp_path / "out", steps=STEPS)
    return tmp_path / "out", [spec.path for spec in matrix.runs]


def steps_of(folder: Path) -> list[int]:
    metrics = folder / "metrics.jsonl"
    text = metrics.read_text() if metrics.exists() else ""
    return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


def require_complete(folder: Path) -> None:
    assert read_job(folder).state == "done", (folder / "job.json").read_text()
    assert steps_of(folder) == list(range(1, STEPS + 1))
    assert (folder / "weights.safetensors").exists()
    assert (folder / "scores" / "last" / "cases.csv").exists()


@pytest.mark.slow
def test_run_that_slurm_stops_is_continued_by_its_next_task(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, paths = runs
    slurm = Slurm(tmp_path / "cluster")
    slurm.runs_jobs_by("while [[ \"$1\" == --* ]]; do shift; done\nexec \"$@\"")  # what follows srun's own options
    script = write_array(out, paths, Options())

    process = slurm.start(script, 1, **STEP)
    wait_until(lambda: len(steps_of(out / paths[0])) > 6, 400)
    os.kill(process.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75, output
    assert slurm.called("scontrol") == ["requeue 4711_1"]
    assert read_job(out / paths[0]).state == "stopped"

    code, output = slurm.run(script, 1, SLURM_RESTART_COUNT="1", **STEP)
    assert code == 0, output
    require_complete(out / paths[0])
    assert read_job(out / paths[0]).attempts == 2
    assert not (out / paths[1] / "job.json").exists()


@pytest.mark.slow
def test_training_on_a_lost_machine_goes_on_elsewhere(runs: tuple[Path, list[str]],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    out, paths = runs
    with ray_cluster_of_two(monkeypatch) as cluster:
        def kill() -> None:
            wait_until(lambda: len(steps_of(out / paths[0])) > 6, 400)
            kill_machine_of(cluster, worker_of(paths[0]))

        killer = threading.Thread(target=kill)
        killer.start()
        ends = dict(ray_cluster.execute(out, paths, Options()))
        killer.join()
    assert ends == dict.fromkeys(paths, 0)
    for path in paths:
        require_complete(out / path)
    assert read_job(out / paths[0]).attempts == 2


def worker_of(run: str) -> int:
    """The process that started the job of a run."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue  # it has ended meanwhile
            if "semivox.compare.job" in words and run in words:
                return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    raise AssertionError(f"no process works on {run}")
