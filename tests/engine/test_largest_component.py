"""A method or a plan may ask for the component filter at test; the run's plan carries the wish to prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from run_material import rows_of, train, train_and_stop, weights_of

from semivox.data.store import Store
from semivox.engine.build import plan_of_run
from semivox.engine.deploy import load_deployed
from semivox.engine.train import resume_run
from semivox.recipes import resolve


@pytest.mark.parametrize(("planned", "method", "expected"), [
    (False, {"name": "cml"}, False), (False, {"name": "cml", "test_lcc": True}, True),
    (True, {"name": "cml"}, True), (False, {"name": "supervised"}, False),
])
def test_plan_of_the_run_filters_if_the_plan_or_the_method_asks_for_it(
    planned: bool, method: dict, expected: bool, toy_store: Store
) -> None:
    plan = replace(toy_store.plan, largest_component=planned)
    assert plan_of_run(plan, resolve(plan, {"method": method})).largest_component is expected


def test_the_released_profile_of_cml_filters(toy_store: Store) -> None:
    config = resolve(toy_store.plan, {"method": {"name": "cml"}, "profile": "released"})
    assert plan_of_run(toy_store.plan, config).largest_component
    assert config.method.fuse == "logits"  # type: ignore[attr-defined]
    assert (config.data.labeled_per_batch, config.data.unlabeled_per_batch) == (4, 4)


def test_a_run_of_cml_through_both_stages_stops_resumes_and_hands_the_filter_on(
    toy_store: Store, tmp_path: Path
) -> None:
    changes = {"profile": "released", "method.pretrain_share": 0.5, "data.labeled_per_batch": 4,
               "data.unlabeled_per_batch": 4}
    whole = train(toy_store, tmp_path / "whole", "cml", changes)
    assert load_deployed(whole.path).plan.largest_component
    rows = rows_of(whole)
    assert [row["stage"] for row in rows] == ["pretrain"] * 3 + ["selftrain"] * 3
    assert [{"unlabeled", "agreement"} <= set(row["terms"]) for row in rows] == [False] * 3 + [True] * 3
    assert rows[2]["lr"] == rows[0]["lr"] == 0.01
    for after in (2, 4):  # in the middle of each stage
        path = tmp_path / f"stopped{after}"
        train_and_stop(toy_store, path, "cml", after=after, changes=changes)
        resume_run(path)
        assert weights_of(path) == weights_of(whole)
