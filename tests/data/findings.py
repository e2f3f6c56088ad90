"""Short ways to look at what was found in a dataset folder."""

from __future__ import annotations

from semivox.data.cases import Dataset
from semivox.data.problems import Problem


def names(dataset: Dataset, role: str) -> list[str]:
    return [case.name for case in dataset.cases if case.role == role]


def only(dataset: Dataset, code: str) -> Problem:
    found = [problem for problem in dataset.problems if problem.code == code]
    assert len(found) == 1, dataset.problems
    return found[0]


def errors(dataset: Dataset) -> list[Problem]:
    return [problem for problem in dataset.problems if problem.severity == "error"]
