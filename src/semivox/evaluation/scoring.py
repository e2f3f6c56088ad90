"""Scores of all cases, computed side by side in worker processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from semivox.evaluation.classes import check_values
from semivox.evaluation.pairs import Pair
from semivox.evaluation.result import CaseRow
from semivox.imaging.files import Header, Scan, read_label
from semivox.metrics.conventions import Rules, class_metrics
from semivox.progress import track
from semivox.workers import worker_pool

VOXELS_PER_WORKER = 40_000_000
"""A further process is worth its start (a second) for about this many voxels."""


class Job(NamedTuple):
    """One case and everything that is needed to score it."""

    pair: Pair
    names: dict[int, str]
    rules: Rules
    spacing_known: bool


def score_case(job: Job) -> list[CaseRow]:
    """Read both label maps of a case and score every class.

    Raises:
        InputError: when a file is damaged or holds a label that is no class (P11).
    """
    prediction, reference = read_pair(job.pair)
    for path, labels in ((job.pair.prediction, prediction), (job.pair.reference, reference.array)):
        if path is not None:
            check_values(labels, path, job.names)
    known = job.spacing_known and reference.geometry.spacing_known
    spacing_mm = reference.geometry.spacing_mm if known else None
    scores = class_metrics(prediction, reference.array, job.names, spacing_mm=spacing_mm, rules=job.rules)
    voxel_ml = None if spacing_mm is None else math.prod(spacing_mm) / 1000
    return [CaseRow(job.pair, value, job.names[value], scores[value], voxel_ml) for value in job.names]


def read_pair(pair: Pair) -> tuple[np.ndarray, Scan]:
    """Predicted labels (X, Y, Z), all background when the prediction is missing, and the reference."""
    reference = read_label(pair.reference)
    if pair.prediction is None:
        return np.zeros_like(reference.array), reference
    return read_label(pair.prediction).array, reference


def score_all(jobs: Sequence[Job], *, workers: int) -> list[CaseRow]:
    """Score cases in ``workers`` processes (1: in this one); rows are in the order of the jobs.

    Raises:
        InputError: of the first case that fails.
        ResourceError: when a worker process is killed.
    """
    processes = min(workers, len(jobs))
    with worker_pool(processes if processes > 1 else 0, command="evaluate") as pool, \
            track("Evaluating", total=len(jobs), unit="case") as bar:
        rows = []
        for found in pool.in_order(score_case, jobs):
            rows.extend(found)
            bar.advance()
    return rows


def sensible_workers(headers: Iterable[Header]) -> int:
    """Processes that are worth starting for scans of these shapes, at most one for each core."""
    voxels = sum(math.prod(header.shape) for header in headers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, voxels // VOXELS_PER_WORKER))
