"""Sentences on what was asked for hold for what was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import synthetic_comparison

from semivox.report.charts import chosen_by_validation
from semivox.report.setting import asked_facts, protocol_sentences
from semivox.report.source import read_source

STORED = "the first of the train list, as in the literature"


@pytest.mark.parametrize(("draws", "which", "fact"), [
    ((None,), STORED, None),
    ((None, 1, 2), f"{STORED}, and random draws of the train list", "the stored order, and 2 random subsets (1, 2)"),
    ((1,), "random draws of the train list", "1 random subset (1)")])
def test_labeled_cases_are_described_as_they_were_chosen(
    tmp_path: Path, draws: tuple[int | None, ...], which: str, fact: str | None
) -> None:
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2, draws=draws, validation=0)
    source = read_source(tmp_path / "out")
    assert protocol_sentences(source)[0] == (f"The labeled cases are {which}, the same for all methods; all other "
                                             "training images are unlabeled, save in the runs with all labels.")
    assert dict(asked_facts(source)).get("labeled draws") == fact


def test_validation_cases_are_not_called_unlabeled(tmp_path: Path) -> None:
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2, validation=2)
    source = read_source(tmp_path / "out")
    assert "all other training images except those for validation are unlabeled" in protocol_sentences(source)[0]


def test_what_validation_has_chosen_is_said(tmp_path: Path) -> None:
    matrix = synthetic_comparison(tmp_path / "none", seeds=(0,), cases=2, validation=0)
    assert chosen_by_validation(read_source(tmp_path / "none")) == "Nothing was chosen by it."
    path = tmp_path / "none" / matrix.runs[1].path / "config.json"
    config = json.loads(path.read_text())
    config.setdefault("engine", {})["stages"] = [{"name": "pretrain", "pick": "best_validation"}]
    path.write_text(json.dumps(config))
    assert chosen_by_validation(read_source(tmp_path / "none")) == \
        "Mean Teacher went into the next stage with the weights that are best by it."
    synthetic_comparison(tmp_path / "some", seeds=(0,), cases=2, validation=2)
    assert chosen_by_validation(read_source(tmp_path / "some")) == \
        "The weights that are best by it are scored apart from the last ones."
