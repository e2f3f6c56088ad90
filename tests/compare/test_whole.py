"""The command as it is given: killed in the middle, given again, and complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from matrix_material import TINY

from semivox.compare.pace import pace_of
from semivox.matrix import read_job, read_matrix, runs_done

STEPS = 40


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "semivox", "compare", *map(str, arguments)]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path for path in sys.path if path)
    with open(log, "ab") as stream:
        return subprocess.Popen(arguments, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                                env={**os.environ, "PYTHONPATH": paths}, start_new_session=True)


def wait_until(condition: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, "took too long"
        time.sleep(0.02)


def test_comparison_killed_in_the_middle_is_completed_by_the_same_command(toy_store, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    settings = [part for setting in TINY for part in ("--set", setting)]
    process = start(command(toy_store.path, out, "--methods", "supervised", "--labeled", 2, "--steps", STEPS,
                            *settings), log)
    try:
        wait_until(lambda: (out / "matrix.json").is_file(), process, log)
        matrix = read_matrix(out)
        first = out / matrix.runs[0].path
        wait_until(lambda: pace_of(first).step >= 4, process, log)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    assert runs_done(out, matrix) == []

    again = start(command(toy_store.path, out), log)
    assert again.wait(300) == 0, log.read_text()
    assert len(runs_done(out, matrix)) == len(matrix.runs) == 2
    for spec in matrix.runs:
        rows = [json.loads(line) for line in (out / spec.path / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert len(list((out / spec.path / "predictions/last").glob("*.nii.gz"))) == 2
        assert (out / spec.path / "scores/last/cases.csv").is_file()
    assert read_job(first).attempts == 2
    assert (out / "report.html").is_file()
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_failing_run_leaves_the_others_alone_and_the_command_says_so(toy_store, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    settings = [part for setting in TINY for part in ("--set", setting)]
    process = start(command(toy_store.path, out, "--methods", "supervised+optimizer.lr=1e30", "--labeled", 2,
                            "--steps", 6, "--jobs", 2, *settings), log)
    assert process.wait(300) == 4, log.read_text()
    matrix = read_matrix(out)
    states = {spec.role: read_job(out / spec.path) for spec in matrix.runs}
    assert {role: record.state for role, record in states.items()} == {
        "lower_bound": "done", "method": "failed", "upper_bound": "done"}
    assert states["method"].error["code"] == "T9"
    assert "1 of 3 runs failed" in log.read_text()
    assert (out / "report.html").is_file()
