from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from run_material import rows_of, tiny_config, train, weights_of

from semivox.data.splits import choose_split
from semivox.data.store import LabelAccess, Store
from semivox.errors import InputError
from semivox.methods import METHODS


@pytest.fixture
def bare_store(toy_store, tmp_path: Path):
    """``bare_store(changes)`` -> the store without any label that a run with these changes may not see."""

    def make(method: str, changes: dict[str, Any] | None = None) -> tuple[Store, int]:
        folder = tmp_path / "store"
        shutil.copytree(toy_store.path, folder)
        data = tiny_config(toy_store, method, changes).data
        split = choose_split(toy_store, labeled=data.labeled, draw=data.labeled_draw, validation=data.validation)
        hidden = [path for path in (folder / "labels").iterdir()
                  if path.name not in {*split.labeled, *split.validation}]
        for path in hidden:
            shutil.rmtree(path)
        return Store.open(folder), len(hidden)

    return make


@pytest.mark.parametrize("changes", [{}, {"data.labeled_draw": 3}], ids=["first", "drawn"])
@pytest.mark.parametrize("method", METHODS)
def test_labels_outside_the_labeled_subset_make_no_difference_to_the_last_bit(
    method: str, changes: dict[str, Any], toy_store, bare_store, finished_run, tmp_path: Path
) -> None:
    whole = train(toy_store, tmp_path / "whole", method, changes) if changes else finished_run(method)
    store, hidden = bare_store(method, changes)
    assert hidden == 4
    run = train(store, tmp_path / "run", method, changes)
    assert weights_of(run) == weights_of(whole)


def test_foreground_oversampling_reads_no_hidden_label(toy_store, bare_store, tmp_path: Path) -> None:
    changes = {"data.foreground_fraction": 1.0, "data.workers": 1}
    whole = train(toy_store, tmp_path / "whole", "mean_teacher", changes)
    store, _ = bare_store("mean_teacher", changes)
    assert weights_of(train(store, tmp_path / "run", "mean_teacher", changes)) == weights_of(whole)


def test_missing_label_of_the_labeled_subset_is_an_error(toy_store, bare_store, tmp_path: Path) -> None:
    store, _ = bare_store("supervised")
    with pytest.raises(InputError, match="file not found in the store"):
        train(store, tmp_path / "run", "supervised", {"data.labeled": 3})


@pytest.mark.parametrize("workers", [0, 1])
def test_training_never_asks_for_another_label_than_those_of_its_subset(
    workers: int, toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    check = LabelAccess._check

    def record(access: LabelAccess, name: str) -> None:
        asked.add(name)
        check(access, name)

    monkeypatch.setattr(LabelAccess, "_check", record)
    opened = Store.label

    def only_through_access(store: Store, name: str):
        assert name in asked, f"the label of {name} was opened past the gate"
        return opened(store, name)

    monkeypatch.setattr(Store, "label", only_through_access)
    train(toy_store, tmp_path / "run", "mean_teacher", {"data.workers": workers})
    split = choose_split(toy_store, labeled=2)
    assert asked <= set(split.labeled)
    if workers == 0:  # what workers ask for is known to them alone
        assert asked


def test_only_the_validator_reads_the_labels_of_validation_cases(toy_store, bare_store, tmp_path: Path) -> None:
    changes = {"data.validation": 2, "engine.steps": 4, "engine.validate_every": 2}
    whole = train(toy_store, tmp_path / "whole", "mean_teacher", changes)
    store, hidden = bare_store("mean_teacher", changes)
    assert hidden == 2
    run = train(store, tmp_path / "run", "mean_teacher", changes)
    assert weights_of(run) == weights_of(whole)
    scores = [row["validation"] for row in rows_of(run) if "validation" in row]
    assert scores == [row["validation"] for row in rows_of(whole) if "validation" in row]
    assert len(scores) == 2

    split = choose_split(store, labeled=2, validation=2)
    for name in split.validation:
        assert name in split.unlabeled  # the images stay in the unlabeled stream
        shutil.rmtree(store.path / "labels" / name)
    silent = {**changes, "engine.validate_every": 1000}
    with pytest.raises(InputError, match="file not found in the store"):  # by the validator, before anything is written
        train(store, tmp_path / "bare", "mean_teacher", silent)
    assert not (tmp_path / "bare").exists()
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr("semivox.engine.train.validator_for", lambda *_, **__: None)
        train(store, tmp_path / "bare", "mean_teacher", silent)
    assert weights_of(tmp_path / "bare") == weights_of(whole)
