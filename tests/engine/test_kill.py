"""Real `kill -9` of a real command. The reference is trained in this process: commands change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from run_material import (
    command,
    finish,
    generations_of,
    rows_of,
    start,
    train,
    train_command,
    untimed_rows_of,
    wait_until,
    weights_of,
)

from semivox.engine.train import resume_run
from semivox.methods import METHODS
from semivox.seeding import numpy_generator

STEPS, SAVE_EVERY = 40, 4
CHANGES = {"engine.steps": STEPS, "engine.save_every": SAVE_EVERY, "data.workers": 1}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)  # the process alone: its loader workers live on for a while
    process.wait(60)


@pytest.mark.parametrize(("method", "by_command"), [("supervised", True), ("mean_teacher", False)])
def test_killed_run_is_resumed_at_once_and_ends_as_if_nothing_had_happened(
    method: str, by_command: bool, toy_store, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(train_command(toy_store.path, run, method, CHANGES), log)
    try:
        wait_until(lambda: run.exists() and max(generations_of(run), default=0) >= SAVE_EVERY, process)
    finally:
        kill_group(process)
    assert process.returncode == -signal.SIGKILL
    assert not (run / "weights.safetensors").exists()
    saved, done = generations_of(run)[-1], max(row["step"] for row in rows_of(run))
    assert 0 <= done - saved <= SAVE_EVERY

    if by_command:
        resumed = tmp_path / "resumed"  # a log of its own: the killed one's worker may still write to the other
        assert finish(command("resume", run), resumed) == 0, resumed.read_text()
        assert "Traceback" not in resumed.read_text()
    else:
        assert resume_run(run) is True  # while the loader's worker of the killed process may still live
    whole = train(toy_store, tmp_path / "whole", method, CHANGES)
    assert weights_of(run) == weights_of(whole)
    assert untimed_rows_of(run) == untimed_rows_of(whole)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_run_survives_kills_at_any_moment(method: str, toy_store, tmp_path: Path) -> None:
    whole = train(toy_store, tmp_path / "whole", method, CHANGES)
    rng = numpy_generator(0, "moments", method)
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = train_command(toy_store.path, run, method, CHANGES)
    kills = 0
    for _ in range(60):
        process = start(arguments, log)
        try:
            # the first kills follow the progress of the run, so that they meet training and not its imports alone
            if kills < 6:
                target = kills * SAVE_EVERY + int(rng.integers(0, SAVE_EVERY))
                reached = lambda goal=target: run.exists() and (run / "metrics.jsonl").exists() and (  # noqa: E731
                    len((run / "metrics.jsonl").read_bytes().splitlines()) >= goal)
                wait_until(reached, process)
                process.wait(float(rng.uniform(0.01, 0.3)))
            else:
                process.wait(float(rng.uniform(1, 60)))
        except subprocess.TimeoutExpired:
            kill_group(process)
            kills += 1
        assert process.returncode in (0, -signal.SIGKILL), log.read_text()
        if process.returncode == 0:
            break
        if generations_of(run):
            arguments = command("resume", run)
    assert process.returncode == 0
    assert kills >= 5
    assert weights_of(run) == weights_of(whole)
    assert untimed_rows_of(run) == untimed_rows_of(whole)
