"""A comparison can be asked for more, on the same ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matrix_material import STEPS, TINY

from semivox.compare.extend import commit, plan_into
from semivox.errors import UsageError
from semivox.matrix import read_matrix

FIRST = {"methods": ("mean_teacher",), "labeled": (2,), "seeds": (0,), "steps": STEPS, "settings": TINY}


@pytest.fixture
def started(toy_store, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    commit(out, toy_store, plan_into(out, toy_store, FIRST))
    return out


def test_planning_writes_nothing(toy_store, tmp_path: Path) -> None:
    plan_into(tmp_path / "out", toy_store, FIRST)
    assert not (tmp_path / "out").exists()


def test_without_options_it_is_what_was_asked_before(toy_store, started: Path) -> None:
    assert plan_into(started, toy_store, dict.fromkeys(FIRST)) == read_matrix(started)


def test_more_methods_and_seeds_are_added(toy_store, started: Path) -> None:
    before = read_matrix(started)
    matrix = commit(started, toy_store, plan_into(started, toy_store, {"methods": ("caml",), "seeds": (1,)}))
    assert matrix == read_matrix(started)
    assert matrix.runs[:3] == before.runs
    assert [(spec.label, spec.seed) for spec in matrix.runs[3:]] == [
        ("supervised", 1), ("CAML", 1), ("supervised (all labels)", 1)]
    assert matrix.asked["methods"] == ["mean_teacher", "caml"]
    assert matrix.asked["seeds"] == [0, 1]
    again = commit(started, toy_store, plan_into(started, toy_store, {"seeds": (0, 1)}))
    assert [(spec.label, spec.seed) for spec in again.runs[6:]] == [("CAML", 0), ("Mean Teacher", 1)]


def test_without_options_the_product_of_all_extensions_is_not_planned(toy_store, started: Path) -> None:
    more = {"methods": ("caml-occ",), "labeled": (1,), "seeds": (1,)}
    before = commit(started, toy_store, plan_into(started, toy_store, more))
    assert [(spec.label, spec.labeled, spec.seed) for spec in before.runs[3:]] == [
        ("supervised", 1, 1), ("CAML without OCC", 1, 1), ("supervised (all labels)", "all", 1)]
    assert plan_into(started, toy_store, {}) == before
    assert commit(started, toy_store, plan_into(started, toy_store, {"steps": STEPS})) == before


def test_what_another_process_added_meanwhile_stays(toy_store, started: Path) -> None:
    mine = plan_into(started, toy_store, {"seeds": (1,)})
    commit(started, toy_store, plan_into(started, toy_store, {"seeds": (2,)}))
    assert {spec.seed for spec in commit(started, toy_store, mine).runs} == {0, 1, 2}


@pytest.mark.parametrize(("given", "words"), [
    ({"steps": 5}, "--steps was 4, now 5"),
    ({"validation": 1}, "--validation was none, now 1"),
    ({"protocol": "literature"}, "--protocol was clinical, now literature"),
    ({"peek_every": 2}, "--show-test-peeking was none, now 2"),
    ({"settings": TINY[:-1]}, "--set was network.width=4"),
])
def test_other_ground_is_refused(toy_store, started: Path, given: dict[str, Any], words: str) -> None:
    before = read_matrix(started)
    with pytest.raises(UsageError) as caught:
        plan_into(started, toy_store, given)
    assert caught.value.code == "C3"
    assert words in str(caught.value)
    assert read_matrix(started) == before


def test_other_store_is_refused(make_store, started: Path) -> None:
    with pytest.raises(UsageError, match="the store was"):
        plan_into(started, make_store(unlabeled=0), {"seeds": (1,)})


def test_other_reference_only_changes_the_statistics(toy_store, started: Path) -> None:
    matrix = plan_into(started, toy_store, {"reference": "mean_teacher"})
    assert (matrix.reference, matrix.runs) == ("mean_teacher", read_matrix(started).runs)


def test_new_folder_needs_methods_and_cases(toy_store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--methods"):
        plan_into(tmp_path / "out", toy_store, {"labeled": (2,)})
    with pytest.raises(UsageError, match="--labeled"):
        plan_into(tmp_path / "out", toy_store, {"methods": ("caml",)})


def test_folder_with_something_else_is_left_alone(toy_store, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a comparison") as caught:
        plan_into(tmp_path, toy_store, FIRST)
    assert caught.value.code == "C6"
