"""One case, read once: its problems, and the few numbers that checks across cases need.

Runs in worker processes; what it returns is small, and at most one channel and one mask are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semivox.data.cases import CaseFiles, Role
from semivox.data.checks.images import Grid, ImageFacts, constant_problem, image_facts
from semivox.data.checks.labels import LabelFacts, class_facts, label_facts, label_problems
from semivox.data.layouts.read import read_case_label, read_scans
from semivox.data.problems import Problem, from_error, relative
from semivox.errors import InputError, SemivoxError
from semivox.imaging.files import Scan
from semivox.imaging.preprocess import check_same_grid


class CaseJob(NamedTuple):
    """What a worker needs to examine a case."""

    case: CaseFiles
    root: Path
    class_names: tuple[str, ...] | None
    """Declared classes, or None when the masks decide."""


class CaseFacts(NamedTuple):
    """What was found in one case. Fields of what could not be read are empty."""

    name: str
    role: Role
    grid: Grid | None
    """Of the first channel that could be read."""
    images: tuple[ImageFacts, ...]
    """One for each channel that could be read."""
    label_path: str | None
    label: LabelFacts | None
    problems: tuple[Problem, ...]
    remarks: tuple[tuple[str, str], ...]
    """(file, what a person may want to know about it)."""


class _Found(NamedTuple):
    problems: list[Problem]
    remarks: list[tuple[str, str]]


def examine_case(job: CaseJob) -> CaseFacts:
    """Read every file of a case and judge it. Problems are returned, never raised."""
    case, found = job.case, _Found([], [])
    label = _read_label(job, found)
    facts = None if label is None else label_facts(label)
    label_path = None if case.label is None else relative(case.label, job.root)
    if facts is not None and label_path is not None:
        found.problems.extend(label_problems(label_path, facts, class_names=job.class_names))
    first: Scan | None = None
    images = []
    for channel, path, scan in _scans(job, found):
        images.append(image_facts(scan, relative(path, job.root), channel=channel))
        found.problems.extend(constant_problem(images[-1], test=case.role == "test"))
        if first is not None:
            found.problems.extend(_grid_problem(first, scan, subject=images[-1].path, what=f"channel {channel}"))
            continue
        first = _outline(scan)
        if label is not None and facts is not None:
            mismatch = _grid_problem(first, label, subject=label_path or case.name, what="the mask")
            found.problems.extend(mismatch)
            facts = facts if mismatch else facts._replace(classes=class_facts(label, scan, facts.counts))
    grid = None if first is None else _grid(case.name, first)
    return CaseFacts(case.name, case.role, grid, tuple(images), label_path, facts, tuple(found.problems),
                     tuple(found.remarks))


def _read_label(job: CaseJob, found: _Found) -> Scan | None:
    if job.case.label is None:
        return None
    try:
        label = read_case_label(job.case)
    except SemivoxError as error:
        found.problems.append(from_error(error, job.root))
        return None
    found.remarks.extend((relative(job.case.label, job.root), note) for note in label.notes)
    return label


def _scans(job: CaseJob, found: _Found) -> Iterator[tuple[int, Path, Scan]]:
    """Channel by channel (number, file, voxels), without those that cannot be read."""
    for index, path in enumerate(job.case.images):
        try:
            scans = read_scans(job.case, path)
        except SemivoxError as error:
            problem = from_error(error, job.root)
            # An HDF5 file holds image and mask: what is wrong with it was said when the mask was read.
            if problem not in found.problems:
                found.problems.append(problem)
            continue
        found.remarks.extend((relative(path, job.root), note) for note in scans[0].notes)
        while scans:
            channel = index + job.case.stacked - len(scans)
            yield channel, path, scans.pop(0)


def _grid_problem(first: Scan, other: Scan, *, subject: str, what: str) -> list[Problem]:
    try:
        check_same_grid(first, other, subject=subject, what=what)
    except InputError as error:
        return [Problem(error.code, "error", subject, error.problem, error.fix)]
    return []


def _grid(name: str, scan: Scan) -> Grid:
    return Grid(name, scan.array.shape, scan.geometry.spacing_mm, scan.geometry.spacing_known)


def _outline(scan: Scan) -> Scan:
    """The grid of a scan without its voxels, so that one channel at a time is in memory."""
    return Scan(np.broadcast_to(scan.array.dtype.type(0), scan.array.shape), scan.geometry)
