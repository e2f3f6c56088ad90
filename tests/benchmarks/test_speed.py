"""The table of speeds: what `make bench` lets through, and that both sides of a contest work in turn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "benchmarks")]

import race  # noqa: E402
import speed  # noqa: E402
from contest_sides import broken, fast, slow  # noqa: E402

MACHINE = {"processor": "this", "cores": "2", "device": "cpu", "form": "quick"}
OTHER = MACHINE | {"processor": "another"}


def outcome(ratio: float) -> race.Outcome:
    return race.Outcome(1.0, ratio, 100.0, 100.0, "the same")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "speed.csv")


def test_rows_are_of_machines_and_a_repeated_contest_replaces_its_columns(results):
    speed.keep(MACHINE, {"train_vnet": outcome(6), "load_patches": outcome(9)})
    speed.keep(OTHER, {"train_vnet": outcome(3)})
    speed.keep(MACHINE, {"train_vnet": outcome(7)})
    rows = speed.read_rows()
    assert [(row["processor"], row["train_vnet_ratio"], row["load_patches_ratio"]) for row in rows] == [
        ("this", "7", "9"), ("another", "3", "")]


@pytest.mark.parametrize(("ratio", "code"), [(8.1, 0), (7.9, 1)])
def test_a_ratio_below_80_percent_of_the_committed_one_fails(results, ratio, code):
    speed.keep(MACHINE, {"train_vnet": outcome(10)})
    assert speed.compare(MACHINE, {"train_vnet": outcome(ratio)}) == code


def test_another_processor_is_held_against_the_lowest_ratio(results):
    speed.keep(MACHINE, {"train_vnet": outcome(10)})
    speed.keep(OTHER, {"train_vnet": outcome(5)})
    third = MACHINE | {"processor": "third"}
    assert speed.compare(third, {"train_vnet": outcome(4.1)}) == 0
    assert speed.compare(third, {"train_vnet": outcome(3.9)}) == 1


def test_nothing_to_compare_with_is_a_failure(results):
    assert speed.compare(MACHINE, {"train_vnet": outcome(10)}) == 1


def contest(ours, theirs, check):
    return race.Contest("c", "work", race.Side("ours", ours), race.Side("theirs", theirs), check, repeats=3)


def test_sides_are_timed_in_processes_of_their_own(tmp_path):
    found = race.run_contest(contest(fast, slow, lambda ours, theirs: f"{ours} and {theirs}"), race.Setup(tmp_path))
    assert 2 < found.ratio < 6
    assert found.agreement == "7 and 7"
    assert found.ours_mb > 5


def test_results_that_differ_are_not_met_however_fast(tmp_path, results):
    def differ(ours, theirs):
        raise AssertionError("labels differ")

    found = race.run_contest(contest(fast, slow, differ), race.Setup(tmp_path))
    assert not found.equal
    assert speed.verdict(contest(fast, slow, differ), found) == "NOT met"
    speed.keep(MACHINE, {"train_vnet": found})
    assert speed.read_rows()[0]["train_vnet_same"] == "no"
    assert speed.compare(MACHINE, {"train_vnet": found}) == 1


def test_the_error_of_a_side_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="theirs: ValueError: no scans"):
        race.run_contest(contest(fast, broken, lambda *_: ""), race.Setup(tmp_path))
