"""The folder of a comparison as ``semivox compare`` leaves it, without a training: small balls instead of organs.

Predictions are moved references, so that scores, predictions and references belong together. Better methods move
less; seeds and cases differ. All is derived from the arguments: the same call writes the same files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semivox.evaluation.pairs import Pair
from semivox.evaluation.result import CaseRow, Evaluation
from semivox.evaluation.tables import summary, write_cases
from semivox.fsio import write_json
from semivox.imaging.files import read_label, write_image, write_label
from semivox.imaging.geometry import Geometry
from semivox.matrix import (
    BEST_VALIDATION,
    LAST,
    PREDICTIONS,
    SCORES,
    STEP_PREFIX,
    JobRecord,
    Matrix,
    RunSpec,
    write_job,
    write_matrix,
)
from semivox.metrics.conventions import Rules, class_metrics
from semivox.seeding import numpy_generator

SHAPE, SPACING = (20, 20, 16), (1.5, 1.5, 2.0)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GEOMETRY = Geometry(SPACING, (0.0, 0.0, 0.0), IDENTITY)
STEPS, LOG_EVERY, VALIDATE_EVERY = 40, 4, 20
ERROR = {"code": "T9", "subject": "/home/someone/out/run", "problem": "the loss is not finite at step 12",
         "fix": "lower optimizer.lr", "exit_code": 8}
NETWORK = {"name": "vnet", "width": None, "decoder": None, "dropout": None, "init": None, "options": {}}
OPTIMIZER = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001, "schedule": "poly",
             "decay_every_steps": 125, "decay_factor": 0.1, "poly_power": 0.9, "clip_norm": 0.0}
CHANNEL = {"name": "MRI", "scheme": "zscore", "mean": 0.0, "std": 1.0, "percentile_00_5": -3.0, "percentile_99_5": 3.0}


def synthetic_comparison(
    path: Path,
    methods: Sequence[str] = ("supervised", "mean_teacher"),
    seeds: Sequence[int] = (0, 1),
    *,
    labeled: Sequence[int] = (4,),
    draws: Sequence[int | None] = (None,),
    dropped: Mapping[str, Sequence[str]] | None = None,
    cases: int = 6,
    classes: int = 2,
    protocol: str = "literature",
    validation: int = 2,
    peek_every: int | None = None,
    states: Mapping[tuple[str, int], str] | None = None,
    missed: Sequence[tuple[str, int, int]] = (),
    references: Path | None = None,
    store: Path | None = None,
) -> Matrix:
    """Write a comparison into ``path``, and (without ``store``) images and references into ``path``-store beside it.

    Args:
        path: folder of the comparison.
        methods: the better the later; ``supervised`` is always planned as the two bounds.
        seeds: of each method.
        labeled: numbers of labeled cases.
        draws: labeled subsets; None is the stored order.
        dropped: method to components: one more variant for each component, without it.
        cases: test cases, when they are not those of a store.
        classes: K >= 2, with the background.
        protocol: of the comparison and its scores.
        validation: validation cases; 0 leaves ``best_validation`` out.
        peek_every: steps between scored weights.
        states: (method, seed) to the state of runs that are not done: ``failed`` (with an error), ``training``,
            ``waiting`` (no folder at all), ``stopped``.
        missed: (method, seed, index of the case) of structures that the prediction does not find at all.
        references: folder of the references, when they lie elsewhere than in the store.
        store: a prepared store; its test cases are used.

    Returns:
        What was written to matrix.json.
    """
    folder = store or path.with_name(path.name + "-store")
    if store is None:
        write_cases_of_a_store(folder, cases, classes)
    references = references or folder / "labelsTs"
    names = {file.name.split(".")[0]: file for file in sorted(references.glob("*.nii.gz"))}
    runs = plan(methods, seeds, labeled, draws, dropped or {})
    matrix = Matrix(
        "0.1.0", "balls", str(folder.resolve()), "0" * 64, protocol, "supervised", validation, peek_every,  # type: ignore[arg-type]
        {"methods": list(methods), "labeled": list(labeled), "seeds": list(seeds), "draws": len(draws), "steps": STEPS,
         "set": []}, tuple(runs),
        ({"methods": ["supervised"], "text": "It trains on 4 labeled patches a step, the others on 2 and 2."},))
    write_matrix(path, matrix)
    kinds = [LAST] + [BEST_VALIDATION] * bool(validation)
    kinds += [f"{STEP_PREFIX}{step}" for step in range(peek_every, STEPS + 1, peek_every)] if peek_every else []
    for spec in runs:
        state = (states or {}).get((spec.method, spec.seed), "done") if spec.role != "upper_bound" else "done"
        lost = {index for method, seed, index in missed if (method, seed) == (spec.method, spec.seed)}
        write_run(path, spec, names, state=state, kinds=kinds, matrix=matrix, classes=classes, lost=lost)
    return matrix


def plan(methods: Sequence[str], seeds: Sequence[int], labeled: Sequence[int], draws: Sequence[int | None],
         dropped: Mapping[str, Sequence[str]]) -> list[RunSpec]:
    """The runs, in the order in which ``semivox compare`` has them: by labels, then methods, the upper bound last."""
    runs = []
    for count in labeled:
        for method in dict.fromkeys(("supervised", *methods)):
            for parts in ((), *((part,) for part in dropped.get(method, ()))):
                role = "lower_bound" if method == "supervised" else "method"
                runs += [spec_of(method, parts, count, draw, seed, role) for draw in draws for seed in seeds]
    return runs + [spec_of("supervised", (), "all", None, seed, "upper_bound") for seed in seeds]


def spec_of(method: str, dropped: tuple[str, ...], labeled: int | str, draw: int | None, seed: int,
            role: str) -> RunSpec:
    """One run."""
    parts = ["default", *(f"without_{part}" for part in dropped), f"steps_{STEPS}"]
    variant = "-".join(parts + [f"draw_{draw}"] * (draw is not None))
    wishes = {"method": {"name": method}, "engine": {"steps": STEPS}, "seed": seed}
    return RunSpec(f"balls/{method}/{variant}/labeled_{labeled}/seed_{seed}", method, "default", dropped, variant,
                   labeled, draw, seed, STEPS, role, wishes)  # type: ignore[arg-type]


def write_cases_of_a_store(folder: Path, cases: int, classes: int) -> None:
    """Images and references of test cases: a ball, cut into as many slabs as there are foreground classes."""
    for number in range(1, cases + 1):
        rng = numpy_generator(number, "ball")
        grid = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), -1)
        center = np.array(SHAPE) / 2 + rng.uniform(-1, 1, 3)
        inside = np.linalg.norm(grid - center, axis=-1) < rng.uniform(4.5, 5.5)
        slabs = 1 + np.clip((grid[..., 0] - center[0] + 5) / 10 * (classes - 1), 0, classes - 2).astype(np.uint8)
        labels = np.where(inside, slabs, 0).astype(np.uint8)
        image = (100 * inside + rng.normal(0, 20, SHAPE)).astype(np.float32)
        (folder / "imagesTs").mkdir(parents=True, exist_ok=True)
        (folder / "labelsTs").mkdir(parents=True, exist_ok=True)
        write_image(folder / "imagesTs" / f"ball_{number:03d}_0000.nii.gz", image, GEOMETRY)
        write_label(folder / "labelsTs" / f"ball_{number:03d}.nii.gz", labels, GEOMETRY)


def write_run(out: Path, spec: RunSpec, references: Mapping[str, Path], *, state: str, kinds: Sequence[str],
              matrix: Matrix, classes: int, lost: set[int]) -> None:
    """One run directory in the given state."""
    folder = out / spec.path
    if state == "waiting":
        return
    steps = STEPS if state == "done" else STEPS // 2
    write_json(folder / "config.json", config_of(spec, matrix.validation))
    write_json(folder / "plan.json", plan_json(matrix.protocol, classes))
    write_json(folder / "run.json", origin_of(spec, matrix, list(references)))
    write_json(folder / "environment.json", {
        "semivox": "0.1.0", "python": "3.11.7", "platform": "Linux x86_64", "processor": "Example CPU",
        "cpu_count": 2, "threads": 2, "precision": "bf16", "world_size": 1, "devices": [],
        "packages": {"torch": "2.13.0", "monai": None}})
    rows = metrics_of(spec, steps, bool(matrix.validation))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if state == "done":
        (folder / "weights.safetensors").write_bytes(b"")
        for kind in kinds:
            write_scores(folder, spec, references, kind=kind, protocol=matrix.protocol, lost=lost)
    write_job(folder, JobRecord(state, ERROR if state == "failed" else None, 1,  # type: ignore[arg-type]
                                {"train": 1.5 * steps, "predict": 3.0, "evaluate": 1.0}, 900.0 + 100 * rank(spec)))


def write_scores(folder: Path, spec: RunSpec, references: Mapping[str, Path], *, kind: str, protocol: str,
                 lost: set[int]) -> None:
    """Predictions of one set of weights, and what ``semivox evaluate`` writes about them."""
    rows, names = [], {}
    (folder / PREDICTIONS / kind).mkdir(parents=True)
    for index, (case, file) in enumerate(references.items()):
        scan = read_label(file)
        prediction = moved(scan.array, spec, case, kind)
        if index in lost:
            prediction = np.zeros_like(prediction)
        target = folder / PREDICTIONS / kind / f"{case}.nii.gz"
        write_label(target, prediction, scan.geometry)
        names = {value: f"part {value}" for value in range(1, int(scan.array.max()) + 1)}
        found = class_metrics(prediction, scan.array, names, spacing_mm=scan.geometry.spacing_mm)
        unit = math.prod(scan.geometry.spacing_mm) / 1000
        pair = Pair(case, target, file)
        rows += [CaseRow(pair, value, names[value], scores, unit) for value, scores in found.items()]
    evaluation = Evaluation(tuple(rows), names, protocol, Rules())
    write_cases(folder / SCORES / kind / "cases.csv", evaluation)
    write_json(folder / SCORES / kind / "summary.json", summary(evaluation))


def moved(labels: np.ndarray, spec: RunSpec, case: str, kind: str) -> np.ndarray:
    """The reference, moved by a number of voxels that says how good the method is.

    Early weights move it further, but for the supervised ones half of the way: those are better than the last.
    """
    rng = numpy_generator(spec.seed, spec.method, spec.labeled, spec.draw or 0, case)
    step = int(kind.removeprefix(STEP_PREFIX)) if kind.startswith(STEP_PREFIX) else STEPS
    late = 0 if step == STEPS else -1 if spec.method == "supervised" and step == STEPS // 2 else 1
    distance = 3 - rank(spec) + int(rng.integers(0, 2)) + late + len(spec.dropped)
    return np.roll(labels, max(0, distance), axis=int(rng.integers(0, 3))).astype(np.uint8)


def rank(spec: RunSpec) -> int:
    """0 for the lower bound up to 3 for the upper bound."""
    if spec.role == "upper_bound":
        return 3
    return {"supervised": 0, "mean_teacher": 1}.get(spec.method, 2)


def metrics_of(spec: RunSpec, steps: int, validated: bool) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl: a falling loss, a rising validation Dice."""
    rows: list[dict[str, Any]] = []
    for step in range(LOG_EVERY, steps + 1, LOG_EVERY):
        rng = numpy_generator(spec.seed, spec.method, step)
        loss = math.exp(-step / 15) * (1 - 0.15 * rank(spec)) + 0.05 * float(rng.uniform())
        rows.append({"step": step, "stage": "main", "loss": loss, "terms": {"supervised": loss}, "lr": 0.01,
                     "seconds_per_step": 0.3 + 0.1 * rank(spec), "data_wait_share": 0.01, "patches_per_second": 8.0,
                     "peak_memory_mb": 900.0 + 100 * rank(spec)})
        if validated and step % VALIDATE_EVERY == 0:
            dice = 60 + 8 * rank(spec) + step / 4 + float(rng.uniform())
            rows.append({"step": step, "validation": {"dice": dice, "dice_per_case": {"ball_901": dice}}})
    return rows


def config_of(spec: RunSpec, validation: int) -> dict[str, Any]:
    """A complete config.json."""
    alone = spec.method == "supervised"
    return {
        "method": {"name": spec.method, **({"drop": list(spec.dropped)} if spec.dropped else {})}, "network": NETWORK,
        "data": {"labeled": None if spec.labeled == "all" else spec.labeled, "labeled_draw": spec.draw,
                 "validation": validation, "labeled_per_batch": 4 if alone else 2,
                 "unlabeled_per_batch": 0 if alone else 2, "patch_size": [16, 16, 16], "augmentation": "weak",
                 "intensity": "stored", "foreground_fraction": 0.33, "workers": 1},
        "optimizer": OPTIMIZER,
        "engine": {"steps": STEPS, "stages": [{"name": "main", "steps": STEPS, "schedule": None, "pick": "last"}],
                   "precision": "bf16", "accelerator": "auto", "devices": 1, "nodes": 1, "threads": 0, "accumulate": 1,
                   "compile": False, "channels_last": True, "save_every": 20, "validate_every": VALIDATE_EVERY,
                   "log_every": LOG_EVERY},
        "seed": spec.seed, "profile": spec.profile, "format": 1}


def plan_json(protocol: str, classes: int) -> dict[str, Any]:
    """A complete plan.json."""
    recipe = "la_half" if protocol == "literature" else "auto"
    return {"format": 1, "recipe": recipe, "dimensions": 3, "channels": [CHANNEL],
            "class_names": ["background", *(f"part {value}" for value in range(1, classes))],
            "spacing_mm": list(SPACING), "spacing_known": True, "patch_size": [16, 16, 16], "strides": None,
            "overlap": 0.5, "window": "gaussian", "labeled_per_batch": 2, "unlabeled_per_batch": 2,
            "foreground_fraction": 0.33, "network": "vnet", "intensity": "stored", "largest_component": False}


def origin_of(spec: RunSpec, matrix: Matrix, test: list[str]) -> dict[str, Any]:
    """A complete run.json: 20 training cases."""
    train = [f"ball_{number}" for number in range(900, 920)]
    count = len(train) - matrix.validation if spec.labeled == "all" else int(spec.labeled)
    validators = train[len(train) - matrix.validation:]
    return {"store": matrix.store, "store_digest": matrix.store_digest, "name": matrix.dataset,
            "split": {"format": 1, "labeled": train[:count], "unlabeled": train[count:], "validation": validators,
                      "test": test}}
