"""Predict and score the test cases of a finished run: what is there already is not done again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from semivox.data.store import Store
from semivox.engine.deploy import load_deployed
from semivox.evaluation.evaluate import RESULT_FILES, evaluate
from semivox.inference.batch import predict_cases
from semivox.inference.cases import find_inputs, plan_outputs
from semivox.inference.precision import resolve_device, resolve_precision
from semivox.inference.predictor import Predictor
from semivox.inference.sliding import Execution
from semivox.matrix import PREDICTIONS, SCORES

IMAGES, REFERENCES = "imagesTs", "labelsTs"


def predict_tests(store: Store, folder: Path, weights: str) -> None:
    """Write the label maps of the test cases that have a reference into ``predictions/<weights>``.

    Args:
        store: where the test scans are.
        folder: the finished run.
        weights: ``last``, ``best_validation`` or ``step_<n>``.

    Raises:
        SemivoxError: a case cannot be predicted.
    """
    scans = store.path / IMAGES
    scored = {case.name for case in store.cases if case.role == "test" and case.reference}
    cases = [case for case in find_inputs(scans, len(store.plan.channels)) if case.name in scored]
    jobs = [job for job in plan_outputs(cases, scans, folder / PREDICTIONS / weights) if not job.out_path.exists()]
    if not jobs:
        return
    deployed = load_deployed(folder, weights=weights)
    device = resolve_device(deployed.config.engine.accelerator)
    # what training did not round, prediction does not round either
    precision = "fp32" if deployed.precision == "fp32" else resolve_precision("auto", device)
    predictor = Predictor(deployed.network, deployed.plan, execution=Execution(precision=precision, device=device))
    predict_cases(predictor, jobs)


def evaluate_tests(store: Store, folder: Path, weights: str, *, protocol: Literal["literature", "clinical"]) -> None:
    """Score the label maps of ``predictions/<weights>``; the results go into ``scores/<weights>``.

    Raises:
        SemivoxError: a label map is missing or damaged.
    """
    out = folder / SCORES / weights
    if all((out / name).is_file() for name in RESULT_FILES):
        return
    evaluate(folder / PREDICTIONS / weights, store.path / REFERENCES, out, protocol=protocol,
             images=store.path / IMAGES, overwrite=True)
