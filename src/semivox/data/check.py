"""``semivox check``: every problem of a dataset folder, all at once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from semivox.data.cases import Dataset
from semivox.data.checks.cases import CaseFacts, CaseJob, examine_case
from semivox.data.checks.images import grid_problems, intensity_problems
from semivox.data.checks.labels import all_empty_problem
from semivox.data.checks.leakage import duplicate_problems, patient_problems
from semivox.data.checks.outliers import outlier_problems
from semivox.data.dataset import find_dataset, names_from_values
from semivox.data.problems import SEVERITIES, Problem, from_error
from semivox.errors import InputError
from semivox.progress import track
from semivox.wording import count_of, first_names
from semivox.workers import worker_pool

SERIAL_BYTES = 4_000_000
"""Less than this is read sooner than worker processes start."""
REMARK_CODES = (("rounded", "I30"), ("trailing axes", "I16"), ("orientation", "I12"), ("sform", "I12"))


class Check(NamedTuple):
    """The outcome of checking a dataset."""

    dataset: Dataset
    problems: tuple[Problem, ...]
    """Errors first, then warnings, then notes."""
    summary: dict[str, Any]
    """Counts of cases, channels, classes, shape and spacing ranges: plain JSON values."""


def check_dataset(root: str | Path, *, patient_regex: str | None = None, workers: int = 2) -> list[Problem]:
    """List every problem of a dataset folder, errors first; see ``run_check``."""
    return list(run_check(root, patient_regex=patient_regex, workers=workers).problems)


def run_check(root: str | Path, *, patient_regex: str | None = None, workers: int = 2) -> Check:
    """Read a whole dataset folder and judge it.

    Args:
        root: the dataset folder; nothing in it is changed.
        patient_regex: regular expression over case names whose first group is the patient.
        workers: worker processes, each with one scan and one mask in memory; below 2, none is started.

    Raises:
        UsageError: the folder does not exist or is a file (D1), or the regular expression is not valid (C2).
        ResourceError: no permission (D1), or a worker was killed, usually for its memory (C9).
        InputError: the folder holds no scan (D2).
    """
    dataset = find_dataset(root)
    patients = patient_problems(dataset.cases, dataset.root, patient_regex=patient_regex)
    cases = _examine(dataset, workers)
    class_names, class_problems = _class_names(dataset, cases)
    found = [*dataset.problems, *class_problems, *patients]
    for case in cases:
        found += case.problems
    found += grid_problems([case.grid for case in cases if case.grid is not None])
    found += _intensity_problems(dataset, cases)
    found += all_empty_problem([case.label for case in cases if case.label is not None and case.role == "train"])
    found += duplicate_problems((case.role, image.path, image.digest) for case in cases for image in case.images
                                if not image.constant)
    found += outlier_problems({case.label_path: case.label.classes for case in cases
                               if case.label is not None and case.label_path is not None}, class_names)
    found += _remarks(cases)
    problems = sorted(found, key=lambda problem: SEVERITIES.index(problem.severity))
    return Check(dataset, tuple(problems), _summary(dataset, cases, class_names))


def _examine(dataset: Dataset, workers: int) -> list[CaseFacts]:
    jobs = [CaseJob(case, dataset.root, dataset.class_names) for case in dataset.cases]
    alone = workers < 2 or len(jobs) < 2 or _bytes_at_most(jobs, SERIAL_BYTES)
    with worker_pool(0 if alone else min(workers, len(jobs)), command="check") as pool, \
            track("Checking", total=len(jobs), unit="case") as bar:
        facts = []
        for case in pool.in_order(examine_case, jobs):
            facts.append(case)
            bar.advance()
            bar.note(case.name)
    return facts


def _bytes_at_most(jobs: Sequence[CaseJob], limit: int) -> bool:
    total = 0
    for job in jobs:
        for path in job.case.images:
            # A file that cannot be looked at is judged when it is read.
            with suppress(OSError):
                total += path.stat().st_size
        if total > limit:
            return False
    return True


def _class_names(dataset: Dataset, cases: Sequence[CaseFacts]) -> tuple[tuple[str, ...], list[Problem]]:
    if dataset.class_names is not None:
        return dataset.class_names, []
    values = {value for case in cases if case.label is not None and case.role == "train" for value in case.label.counts}
    if not values:
        return (), []
    try:
        names = names_from_values(values, subject=dataset.root)
    except InputError as error:
        return (), [from_error(error, dataset.root)]
    return names, [Problem("J1", "note", "labelsTr", f"classes found in the masks: {', '.join(names)}",
                           "write a dataset.json with \"labels\" to give them other names")]


def _intensity_problems(dataset: Dataset, cases: Sequence[CaseFacts]) -> list[Problem]:
    channels = defaultdict(list)
    for case in cases:
        for image in case.images:
            if not image.constant:
                channels[image.channel].append(image)
    return [problem for index, name in enumerate(dataset.channel_names)
            for problem in intensity_problems(name, channels[index])]


def _remarks(cases: Sequence[CaseFacts]) -> list[Problem]:
    """One note for each kind of remark that reading made, naming the first files."""
    files: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for case in cases:
        for path, text in case.remarks:
            kind = re.sub(r"[\d,]+", "#", text)
            files[kind].append(path)
            texts.setdefault(kind, text)
    notes = []
    for kind, paths in files.items():
        code = next((code for word, code in REMARK_CODES if word in kind), "I4")
        more = f" (and alike in {count_of(len(paths) - 1, 'more file')}: {first_names(paths[1:])})" if paths[1:] else ""
        notes.append(Problem(code, "note", paths[0], texts[kind] + more, "nothing to do"))
    return notes


def _summary(dataset: Dataset, cases: Sequence[CaseFacts], class_names: Sequence[str]) -> dict[str, Any]:
    grids = [case.grid for case in cases if case.grid is not None]
    return {
        "dataset": dataset.name, "layout": dataset.layout,
        "labeled": len(dataset.of_role("train")), "unlabeled": len(dataset.of_role("unlabeled")),
        "test": len(dataset.of_role("test")),
        "test_with_reference": sum(case.label is not None for case in dataset.of_role("test")),
        "channels": list(dataset.channel_names), "classes": list(class_names),
        **_range("shape", [grid.shape for grid in grids]),
        **_range("spacing_mm", [grid.spacing_mm for grid in grids if grid.spacing_known]),
    }


def _range(name: str, rows: Sequence[Sequence[float]]) -> dict[str, list[float] | None]:
    """Smallest and largest value along each axis; None when nothing is known."""
    axes = list(zip(*rows, strict=True))
    return {f"{name}_min": [min(axis) for axis in axes] or None, f"{name}_max": [max(axis) for axis in axes] or None}
