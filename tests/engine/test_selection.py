"""A stage whose best weights by validation start the next one; the last stage ends with its last step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from run_material import rows_of, tiny_config, train, train_and_stop, untimed_rows_of, weights_of

from semivox.engine import loop
from semivox.engine.train import resume_run
from semivox.engine.validation import Validator
from semivox.errors import UsageError

STAGES = [{"name": "first", "steps": 4, "pick": "best_validation"}, {"name": "second", "steps": 2}]
CHANGES = {"engine.stages": STAGES, "data.validation": 1, "engine.validate_every": 1}


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, torch.Tensor]]:
    """Weights before each step; the validation Dice of the first stage is highest after its second step."""
    seen: dict[int, dict[str, torch.Tensor]] = {}
    step = loop.train_step

    def look_and_step(training: loop.Training, *rest: Any) -> None:
        seen[training.step] = {name: value.clone() for name, value in training.method.state_dict().items()}
        step(training, *rest)

    scores = {0: 10.0, 1: 10.0, 2: 70.0, 3: 30.0, 4: 70.0, 5: 99.0, 6: 99.0}
    monkeypatch.setattr(loop, "train_step", look_and_step)
    monkeypatch.setattr(Validator, "score", lambda self, *modules: {"dice": scores[max(seen) + 1], "dice_per_case": {}})
    return seen


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_next_stage_starts_from_the_first_of_the_best_weights(toy_store, tmp_path: Path, states: dict) -> None:
    train(toy_store, tmp_path / "run", "toy_methods:Staged", CHANGES)
    assert equal(states[4], states[2])  # 70 at steps 2 and 4: the earlier one holds
    assert not equal(states[4], states[3])
    assert not equal(states[5], states[4])


def test_without_a_pick_the_stage_goes_on_from_its_last_weights(toy_store, tmp_path: Path, states: dict) -> None:
    plain = [{key: stage[key] for key in ("name", "steps")} for stage in STAGES]
    train(toy_store, tmp_path / "run", "toy_methods:Staged", {**CHANGES, "engine.stages": plain})
    assert not equal(states[4], states[2])
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_stopped_and_resumed_run_picks_the_same(toy_store, tmp_path: Path, after: int) -> None:
    whole = train(toy_store, tmp_path / "whole", "toy_methods:Staged", CHANGES)
    train_and_stop(toy_store, tmp_path / "cut", "toy_methods:Staged", after=after, changes=CHANGES)
    resume_run(tmp_path / "cut")
    assert weights_of(tmp_path / "cut") == weights_of(whole)
    assert untimed_rows_of(tmp_path / "cut") == untimed_rows_of(whole)


def test_end_of_the_stage_is_validated_even_between_two_validations(toy_store, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", "toy_methods:Staged", {**CHANGES, "engine.validate_every": 3})
    assert [row["step"] for row in rows_of(run) if "validation" in row] == [3, 4, 6]


@pytest.mark.parametrize(("changes", "said"), [
    ({"data.validation": 0}, "data.validation: found 0, stage 'first' picks"),
    ({"engine.validate_every": 5}, "engine.validate_every: found 5, stage 'first' has 4 steps"),
    ({"engine.stages": [STAGES[0], {**STAGES[1], "pick": "best_validation"}]}, "stage 'second' is the last one"),
])
def test_pick_that_cannot_work_is_refused(toy_store, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        tiny_config(toy_store, "toy_methods:Staged", {**CHANGES, **changes})
    assert said in str(caught.value)
