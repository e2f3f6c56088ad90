from __future__ import annotations

import io
import os
import pty
import select
import sys

import pytest

from semivox import progress
from semivox.progress import PlainBar, format_duration, track


class Clock:
    """``time.monotonic`` that moves when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (75, "1:15"), (3599, "59:59"), (4000, "1:06:40"), (90_000, "25:00:00"),
    (float("inf"), "?")])
def test_duration_is_readable(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_log_gets_a_line_a_minute_with_throughput_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with track("Training", total=1000, unit="step") as bar:
        for _ in range(300):
            clock.now += 0.5
            bar.advance()
            bar.note("loss 0.1")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Training: 120/1000 steps, 2.00 steps/s, 7:20 left, loss 0.1",
                     "Training: 240/1000 steps, 2.00 steps/s, 6:20 left, loss 0.1"]


def test_short_work_leaves_no_line_in_a_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track("Checking", total=3, unit="case") as bar:
        for _ in range(3):
            clock.now += 15
            bar.advance()
    assert capsys.readouterr().err == ""


def test_resumed_work_counts_what_was_done_but_not_in_its_throughput(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with track("Training", total=1000, unit="step", done=900) as bar:
        clock.now += 60
        bar.advance(60)
    assert capsys.readouterr().err == "Training: 960/1000 steps, 1.00 steps/s, 0:40 left\n"


def test_slow_work_is_told_in_seconds_a_unit() -> None:
    bar = PlainBar("Preparing", 10, "case")
    assert bar.line(5.0).endswith("? left")
    bar.done = 2
    assert bar.line(60.0) == "Preparing: 2/10 cases, 30.0 s/case, 4:00 left"


def test_of_several_processes_one_can_be_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track("Training", total=10, unit="step", visible=False) as bar:
        clock.now += 600
        bar.advance()
        bar.note("loss 0.1")
    assert capsys.readouterr().err == ""


def test_terminal_gets_a_bar_with_eta_and_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with track("Training", total=8, unit="step", done=2) as bar:
            bar.advance(3)
            bar.note("loss 0.25")
            bar.advance()
        terminal.flush()
        parts = []
        while select.select([master], [], [], 0.5)[0]:  # a read gives what has arrived, which may be a part
            parts.append(os.read(master, 100_000))
        shown = b"".join(parts).decode()
    os.close(master)
    assert "Training" in shown
    assert "6/8 steps" in shown
    assert "steps/s" in shown
    assert "ETA" in shown
    assert "loss 0.25" in shown


def test_nothing_of_it_goes_to_standard_output(clock: Clock, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with track("Training", total=2, unit="step") as bar:
        clock.now += 61
        bar.advance()
    assert stream.getvalue().startswith("Training: 1/2 steps")
    assert capsys.readouterr().out == ""
