"""``data.intensity=minmax`` reaches training, validation and prediction alike, and the default changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_material import rows_of, tiny_config, train, weights_of
from torch import nn

from semivox.config import config_from_json, config_to_json
from semivox.data.store import Store
from semivox.engine.build import plan_of_run
from semivox.engine.deploy import load_deployed
from semivox.engine.validation import Validator
from semivox.fsio import read_json
from semivox.imaging.files import read_image
from semivox.imaging.plan import plan_from_json
from semivox.imaging.preprocess import prepare_case
from semivox.inference.predictor import Predictor
from semivox.inference.sliding import Execution, predict_labels
from semivox.inference.windows import Window
from semivox.recipes import resolve

MINMAX = {"data.intensity": "minmax", "data.patch_size": [16, 16, 16]}


class Halfway(nn.Module):
    """Class 1 where the intensity is above 0.5: tells a scaled scan from another."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(50 * torch.cat([0.5 - image[:, :1], image[:, :1] - 0.5], 1), 1)


def scaled(scan: np.ndarray) -> np.ndarray:
    low, high = scan.min(), scan.max()
    return (scan - low) / (high - low)


def test_a_run_predicts_with_the_intensities_that_it_was_trained_on(toy_store: Store, tmp_path: Path) -> None:
    deployed = load_deployed(train(toy_store, tmp_path / "run", "supervised", MINMAX).path)
    assert deployed.plan.intensity == "minmax"
    scan = toy_store.path / toy_store.case(next(case.name for case in toy_store.cases if case.images)).images[0]
    predictor = Predictor(deployed.network, deployed.plan)
    predictor.predict_case([scan], tmp_path / "predicted.nii.gz")
    prepared = prepare_case([read_image(scan)], None, deployed.plan)
    assert prepared.image.max() > 1.5, "the scan itself must differ from its scaled form"
    expected = predict_labels(deployed.network, scaled(prepared.image), predictor.window, execution=Execution())
    found = read_image(tmp_path / "predicted.nii.gz").array
    assert np.array_equal(found, prepared.orientation.undo(expected))
    plain = Predictor(deployed.network, replace(deployed.plan, intensity="stored")).load([scan]).prepared
    assert np.array_equal(plain.image, prepared.image)


@pytest.mark.parametrize("intensity", ["stored", "minmax"])
def test_validation_scores_the_scan_as_the_network_takes_it(intensity: str, toy_store: Store) -> None:
    case = toy_store.train_order[-1]
    window = Window.from_plan(toy_store.plan)
    image = np.asarray(toy_store.image(case))
    mask = (scaled(image) if intensity == "minmax" else image)[0] > 0.5
    reference = np.asarray(toy_store.label(case)) == 1
    expected = 100 * 2 * (mask & reference).sum() / (mask.sum() + reference.sum())
    validator = Validator(toy_store, (case,), window, Execution(), intensity)  # type: ignore[arg-type]
    assert validator.score(Halfway())["dice"] == pytest.approx(expected, abs=0.01)


def test_a_run_validates_with_the_intensities_that_it_trains_on(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox.engine import validation

    seen: list[tuple[float, float]] = []
    predict = validation.predict_labels
    monkeypatch.setattr(validation, "predict_labels", lambda network, image, *rest, **options: (
        seen.append((image.min(), image.max())), predict(network, image, *rest, **options))[1])
    run = train(toy_store, tmp_path / "run", "supervised", {**MINMAX, "data.validation": 1})
    assert "validation" in rows_of(run)[-1]
    assert set(seen) == {(0.0, 1.0)}


def test_intensities_change_what_is_trained_and_two_workers_do_not(toy_store: Store, tmp_path: Path) -> None:
    changes = {"stored": {**MINMAX, "data.intensity": "stored"}, "minmax": MINMAX,
               "workers": {**MINMAX, "data.workers": 2}}
    runs = {name: weights_of(train(toy_store, tmp_path / name, "supervised", changes[name])) for name in changes}
    assert runs["stored"] != runs["minmax"] == runs["workers"]


def test_the_default_leaves_the_plan_and_a_plan_with_minmax_is_the_runs_default(toy_store: Store) -> None:
    same_patch = {"data.patch_size": list(toy_store.plan.patch_size)}
    config = tiny_config(toy_store, "supervised", same_patch)
    assert config.data.intensity == "stored"
    assert plan_of_run(toy_store.plan, config) == toy_store.plan
    planned = replace(toy_store.plan, intensity="minmax")
    config = resolve(planned, {"method": {"name": "supervised"}})
    assert config.data.intensity == plan_of_run(planned, config).intensity == "minmax"
    config = resolve(planned, {"method": {"name": "supervised"}, "data": {"intensity": "stored"}})
    assert plan_of_run(planned, config).intensity == "stored"


def test_a_run_from_before_there_were_intensities_loads(finished_run) -> None:
    run = finished_run("supervised")
    config, plan = config_to_json(run.read_config()), read_json(run.path / "plan.json")
    del config["data"]["intensity"], plan["intensity"]
    assert config_from_json(config) == run.read_config()
    assert plan_from_json(plan) == run.read_plan()
