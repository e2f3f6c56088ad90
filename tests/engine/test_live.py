"""progress.png: drawn while a run trains, in little of its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from run_material import tiny_config, train, train_and_stop, untimed_rows_of, weights_of

from semivox.engine import live
from semivox.engine.live import LivePicture
from semivox.engine.rundir import RunDirectory


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def picture(toy_store, tmp_path: Path, clock: Clock) -> LivePicture:
    config = tiny_config(toy_store, "mean_teacher", {"engine.steps": 1000})
    return LivePicture(RunDirectory(tmp_path), config, done=100)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[str]:
    """Headings of what is drawn; a drawing takes half a second."""
    seen: list[str] = []

    def draw(metrics: Path, path: Path, *, title: str) -> None:
        clock.now += 0.5
        seen.append(title)

    monkeypatch.setattr(live, "draw_curves", draw)
    return seen


def test_heading_shows_steps_throughput_and_time_left(picture: LivePicture, titles: list[str], clock: Clock) -> None:
    clock.now += 100
    picture.show(300, validated=False)
    assert titles == ["mean_teacher, seed 0: 300/1000 steps, 2.00 steps/s, 5:50 left"]


def test_picture_is_drawn_every_half_minute_and_at_validations_but_never_often(
    picture: LivePicture, titles: list[str], clock: Clock
) -> None:
    drawn = []
    for second in range(1, 200):
        clock.now = 1000.0 + second
        before = len(titles)
        picture.show(100 + second, validated=second in (10, 110, 120))
        drawn += [second] * (len(titles) > before)
    # the first after 50 s, as it is taken for slow; at the validation of 110 s one is due, at that of 120 s it is not
    assert drawn == [50, 81, 110, 141, 172]


def test_slow_drawing_takes_no_more_than_its_share(picture: LivePicture, monkeypatch, clock: Clock) -> None:
    spent = []

    def draw(*_: Any, **__: Any) -> None:
        clock.now += 12.0
        spent.append(12.0)

    monkeypatch.setattr(live, "draw_curves", draw)
    for step in range(100, 1000):
        clock.now += 5.0
        picture.show(step, validated=step % 2 == 0)
    elapsed = clock.now - 1000.0
    assert len(spent) >= 5
    assert sum(spent[:-1]) <= live.SHARE * elapsed  # the last one is paid for by the time to come


def test_picture_that_cannot_be_written_is_told_once(
    picture: LivePicture, clock: Clock, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(live, "draw_curves", full)
    for step in range(101, 110):
        clock.now += 100
        picture.show(step, validated=True)
    assert capsys.readouterr().err.count("progress.png cannot be written (no space left)") == 1


def test_no_error_of_matplotlib_ends_a_run(
    picture: LivePicture, monkeypatch: pytest.MonkeyPatch, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("math text:\nfont not found")

    monkeypatch.setattr(live, "draw_curves", broken)
    for step in range(101, 105):
        clock.now += 100
        picture.show(step, validated=True)
    picture.finish()
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" cannot be written ")[2] for line in said] == ["(math text:\\nfont not found)."] * 2
    assert "progress.png" in said[0]
    assert "curves.png" in said[1]


def test_stopped_run_leaves_the_picture_of_its_way_and_a_finished_one_both(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox.engine.train import resume_run

    monkeypatch.setattr(live, "FIRST_S", 0.0)
    monkeypatch.setattr(live, "INTERVAL_S", 0.0)
    run = RunDirectory(tmp_path / "run")
    train_and_stop(toy_store, run.path, "supervised", after=3)
    assert matplotlib.image.imread(run.progress).shape[1] > 1000
    assert not run.curves.exists()
    on_the_way = run.progress.read_bytes()
    resume_run(run.path)
    assert run.progress.read_bytes() == run.curves.read_bytes() != on_the_way
    assert not list(run.path.glob(".tmp-*"))


def test_drawing_changes_neither_weights_nor_numbers(
    toy_store, finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_S", 0.0)
    monkeypatch.setattr(live, "INTERVAL_S", 0.0)
    drawn = []
    draw = live.draw_curves
    monkeypatch.setattr(live, "draw_curves", lambda *paths, title: drawn.append(title) or draw(*paths, title=title))
    run = train(toy_store, tmp_path / "run", "mean_teacher")
    assert len(drawn) >= 2  # on the way, and at the end
    assert weights_of(run) == weights_of(finished_run("mean_teacher"))
    assert untimed_rows_of(run) == untimed_rows_of(finished_run("mean_teacher"))
