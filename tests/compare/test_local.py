"""The executor of this machine, with stand-ins for the runs' processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from matrix_material import stand_in

from semivox.compare import local
from semivox.compare.execution import Options, get_executor
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.errors import StoppedError, UsageError
from semivox.matrix import read_job


@pytest.fixture
def behave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``behave(a="fails")`` -> a folder whose runs do that."""
    monkeypatch.setattr(local, "job_command", stand_in(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in os.sys.path if path))

    def folder(**behavior: str) -> Path:
        (tmp_path / "behavior.json").write_text(json.dumps(behavior))
        return tmp_path

    return folder


def test_runs_end_with_their_codes_and_a_failure_stays_alone(behave) -> None:
    out = behave(a="fails", b="done", c="killed", d="done")
    codes = dict(local.execute(out, ["a", "b", "c", "d"], Options(2)))
    assert codes == {"a": 8, "b": 0, "c": -signal.SIGKILL, "d": 0}
    assert (out / "d" / "job.log").read_text() == ""


def test_threads_are_divided(behave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: range(7))
    out = behave()
    assert list(local.execute(out, ["a"], Options(3))) == [("a", 0)]
    assert (out / "a" / "threads").read_text() == "2"
    assert local.environment({"A": "1"}, 1) == {"A": "1", DRIVER_VARIABLE: str(os.getpid())}
    assert local.threads_of(100) == 1


def test_no_more_runs_than_jobs_at_the_same_time(behave) -> None:
    out = behave(a="wait", b="wait", c="wait")
    runs = local.execute(out, ["a", "b", "c"], Options(2))
    stop_when(lambda: all(read_job(out / name).state == "training" for name in "ab"))
    codes = []
    with pytest.raises(StoppedError) as caught:
        codes.extend(runs)
    assert sorted(codes) == [("a", 75), ("b", 75)]
    assert not (out / "c").exists()
    assert (caught.value.code, caught.value.exit_code) == ("T15", 75)
    assert {read_job(out / name).state for name in "ab"} == {"stopped"}


def test_runs_end_when_nobody_waits_for_them(behave) -> None:
    out = behave(a="wait", b="done")
    runs = local.execute(out, ["a", "b"], Options(2))
    assert next(runs) == ("b", 0)
    runs.close()
    assert read_job(out / "a").state in ("waiting", "training")  # killed, without a word


def test_unknown_executor_has_the_near_match() -> None:
    with pytest.raises(UsageError, match="did you mean 'local'"):
        get_executor("locl")


def stop_when(condition: Any) -> None:
    """Send SIGTERM to this process as soon as the condition holds."""
    def watch() -> None:
        until = time.monotonic() + 30
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
