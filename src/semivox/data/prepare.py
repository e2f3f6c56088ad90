"""From a dataset folder to a prepared store: fingerprint, plan, then every case by a worker process.

It may be stopped at any moment and started again: finished cases are recognized by key and checksum.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from semivox import __version__
from semivox.data.answers import Answer, answers
from semivox.data.case_lists import decisive_lists, kept_lists, train_list
from semivox.data.case_writer import (
    Inspected,
    WriteJob,
    Written,
    copy_test_case,
    finished_case,
    inspect_case,
    write_case,
)
from semivox.data.cases import CaseFiles, Dataset
from semivox.data.dataset import find_dataset, infer_classes
from semivox.data.fingerprint import Fingerprint, merge_summaries
from semivox.data.planning import RECIPES, make_plan, median_shape
from semivox.data.problems import raise_on_error
from semivox.data.provenance import Digests, claim_store, locked, request_of, unfinish
from semivox.data.store import (
    FINGERPRINT_JSON,
    FORMAT,
    PLAN_JSON,
    SPLITS_JSON,
    STORE_JSON,
    Store,
    case_to_json,
)
from semivox.errors import InputError, PartialFailure, ResourceError, SemivoxError, UsageError, did_you_mean
from semivox.fsio import read_json, sha256_json, write_json
from semivox.imaging.plan import Plan, load_plan, plan_to_json
from semivox.workers import WorkerPool, worker_pool

FAILED_JSON = "failed.json"
REMEDY = "run the same command with --workers 1; finished cases are kept"
Out = TypeVar("Out")


class Failure(NamedTuple):
    """A case that could not be prepared."""

    case: str
    error: SemivoxError


def prepare(root: str | Path, store_path: str | Path, *, recipe: str | None = None, plan_path: Path | None = None,
            workers: int = 2) -> Store:
    """Prepare a dataset folder into a store, or bring a store of the same request up to date.

    Args:
        root: the dataset folder; it is only read.
        store_path: a new or empty folder, or a store of the same dataset.
        recipe: a key of ``planning.RECIPES``, by default ``"auto"``.
        plan_path: a plan to use instead of a recipe.
        workers: processes; each holds about two volumes in memory. 0 works in this process.

    Raises:
        UsageError: recipe and plan both given, unknown recipe, bad plan, or a folder that is not for this store.
        InputError: the dataset's structure is wrong, or no case can be used.
        PartialFailure: the store is complete but for the cases in ``failed.json``.
        ResourceError: not enough disk or memory.
        BusyError: another process prepares this store.
    """
    request, user_plan = _request(recipe, plan_path)
    dataset = find_dataset(root)
    raise_on_error(dataset.problems)
    store = Path(store_path)
    class_names = _class_names(dataset, user_plan)
    claim_store(store, dataset, request)
    with locked(store):
        _remove_leftovers(store)
        with worker_pool(workers, command="prepare", remedy=REMEDY) as pool:
            failures = _prepare_cases(dataset, store, _Choice(recipe or "auto", user_plan, class_names), pool)
    if failures:
        names = ", ".join(failure.case for failure in failures[:5]) + (", ..." if len(failures) > 5 else "")
        raise PartialFailure("P1", store, f"{len(failures)} of {len(dataset.cases)} cases failed, left out: {names};"
                             f" the first: {failures[0].error.subject}: {failures[0].error.problem}",
                             f"see {store / FAILED_JSON}, correct or remove the files, and run the same command again")
    return Store.open(store)


class _Choice(NamedTuple):
    recipe: str
    user_plan: Plan | None
    class_names: tuple[str, ...]


def _request(recipe: str | None, plan_path: Path | None) -> tuple[dict[str, Any], Plan | None]:
    if recipe is not None and plan_path is not None:
        raise UsageError("C3", "--recipe", "given together with --plan",
                         "give one of the two: a plan holds every choice of a recipe")
    if recipe is not None and recipe not in RECIPES:
        raise UsageError("C2", "--recipe", f"unknown recipe '{recipe}'", did_you_mean(recipe, RECIPES))
    plan = None if plan_path is None else load_plan(Path(plan_path))
    return request_of(recipe or "auto", plan, None if plan is None else plan_to_json(plan)), plan


def _class_names(dataset: Dataset, user_plan: Plan | None) -> tuple[str, ...]:
    if user_plan is None:
        return infer_classes(dataset)
    declared = dataset.class_names
    if declared is not None and len(declared) != user_plan.classes:
        raise UsageError("C3", "--plan", f"class_names has {user_plan.classes} entries, the dataset declares "
                         f"{len(declared)}: {', '.join(declared)}",
                         "name each class of the dataset in the plan, background first")
    if len(user_plan.channels) != len(dataset.channel_names):
        raise UsageError("C3", "--plan", f"channels has {len(user_plan.channels)} entries, the dataset has "
                         f"{len(dataset.channel_names)}: {', '.join(dataset.channel_names)}",
                         "describe each channel of the dataset in the plan")
    return user_plan.class_names


def _prepare_cases(dataset: Dataset, store: Path, choice: _Choice, pool: WorkerPool) -> list[Failure]:
    """Both passes, and the files that describe the store; ``store.json`` comes last."""
    failures: list[Failure] = []
    training = dataset.of_role("train", "unlabeled")
    inspected = _inspect(training, pool, failures)
    if not inspected:
        raise failures[0].error if failures else InputError("D2", dataset.root, "no training image",
                                                            "put images into imagesTr or imagesUn")
    fingerprint = merge_summaries((item.summary for item in inspected.values()), dataset.channel_names)
    plan = choice.user_plan or make_plan(fingerprint, choice.recipe, class_names=choice.class_names)
    _require_disk(store, fingerprint, plan)
    jobs = [WriteJob(case, plan, inspected[case.name].digests, store) for case in training if case.name in inspected]
    written = _finished(jobs, pool)
    if len(written) < len(jobs):
        unfinish(store, STORE_JSON)
    _write_unless_equal(store / FINGERPRINT_JSON, fingerprint.to_json(), store)
    _write_unless_equal(store / PLAN_JSON, plan_to_json(plan), store)
    todo = [job for job in jobs if job.case.name not in written]
    written |= _write(write_case, todo, pool, failures, title="Preparing")
    if not written:
        raise failures[0].error
    tests = [WriteJob(case, plan, Digests((), None), store) for case in dataset.of_role("test")]
    written |= _write(copy_test_case, tests, pool, failures, title="Copying test cases")
    _finish(dataset, store, plan, written, failures)
    return failures


def _inspect(cases: Sequence[CaseFiles], pool: WorkerPool, failures: list[Failure]) -> dict[str, Inspected]:
    found = {}
    for index, answer in answers(pool, inspect_case, cases, title="Reading"):
        value = _value(answer, cases[index].name, failures)
        if value is not None:
            found[cases[index].name] = value
    return found


def _finished(jobs: Sequence[WriteJob], pool: WorkerPool) -> dict[str, Written]:
    present = [job for job in jobs if (job.store / "cases" / job.case.name).is_dir()]
    if not present:
        return {}
    found = answers(pool, finished_case, present, title="Checking finished cases")
    return {present[index].case.name: answer.value for index, answer in found if answer.value is not None}


def _write(task: Callable[[WriteJob], Written], jobs: Sequence[WriteJob], pool: WorkerPool, failures: list[Failure], *,
           title: str) -> dict[str, Written]:
    written = {}
    if jobs:
        for index, answer in answers(pool, task, jobs, title=title):
            value = _value(answer, jobs[index].case.name, failures)
            if value is not None:
                written[jobs[index].case.name] = value
    return written


def _value(answer: Answer[Out], case: str, failures: list[Failure]) -> Out | None:
    if isinstance(answer.error, ResourceError):
        raise answer.error
    if answer.error is not None:
        failures.append(Failure(case, answer.error))
    return answer.value


def _finish(dataset: Dataset, store: Path, plan: Plan, written: dict[str, Written], failures: list[Failure]) -> None:
    order = [name for name in train_list(dataset) if name in written]
    lists = kept_lists(dataset, written)
    cases = [written[case.name] for case in dataset.cases if case.name in written]
    test_files = {name: record for item in cases for name, record in item.files.items()}
    (store / FAILED_JSON).unlink(missing_ok=True)
    if failures:
        write_json(store / FAILED_JSON, [{"case": item.case, "code": item.error.code, "subject": item.error.subject,
                                          "problem": item.error.problem, "fix": item.error.fix} for item in failures])
    others = {role: [item.stored.name for item in cases if item.stored.role == role] for role in ("unlabeled", "test")}
    _write_unless_equal(store / SPLITS_JSON, {"format": FORMAT, "train": order, **lists, **others}, store)
    _write_unless_equal(store / STORE_JSON, {
        "format": FORMAT, "semivox_version": __version__, "name": dataset.name, "layout": dataset.layout,
        "digest": sha256_json({"plan": plan_to_json(plan), "cases": {item.stored.name: item.key for item in cases},
                               "train_order": order, **decisive_lists(lists, order)}),
        "train_order": order, **lists, "failed": sorted(item.case for item in failures),
        "cases": [case_to_json(item.stored) for item in cases], "test_files": test_files}, store)


def _write_unless_equal(path: Path, content: dict[str, Any], store: Path) -> None:
    """Write a JSON file; when it changes, the store is incomplete until ``store.json`` is written."""
    try:
        if read_json(path) == json.loads(json.dumps(content)):
            return
    except InputError:
        pass
    if path.name != STORE_JSON:
        unfinish(store, STORE_JSON)
    write_json(path, content)


def _require_disk(store: Path, fingerprint: Fingerprint, plan: Plan) -> None:
    voxels = 1
    for side in median_shape(fingerprint, plan.spacing_mm):
        voxels *= side
    needed = voxels * (4 * len(plan.channels) + 1) * len(fingerprint.cases)
    present = sum(file.stat().st_size for file in (store / "cases").rglob("*.npy")) if (store / "cases").is_dir() else 0
    free = shutil.disk_usage(store).free
    if needed - present > free:
        raise ResourceError("C7", store, f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
                            "free disk space, or choose a coarser spacing_mm in the plan")


def _remove_leftovers(store: Path) -> None:
    """Delete what a killed run left under temporary names."""
    folders: Iterable[Path] = (store, store / "cases", store / "labels", store / "imagesTs", store / "labelsTs")
    for path in [path for folder in folders if folder.is_dir() for path in folder.glob(".tmp-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
