"""Checks across cases: the same voxels twice (D7, D8, D9), the same patient in training and test (D10)."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from semivox.data.cases import CaseFiles, Role
from semivox.data.problems import Problem
from semivox.errors import UsageError
from semivox.wording import first_names

PATIENTS_FILE = "patients.csv"


def duplicate_problems(images: Iterable[tuple[Role, str, str]]) -> list[Problem]:
    """Find equal scans.

    Args:
        images: role of the case, path of the file, digest of its voxels; constant images left out.

    Returns:
        D8 and D9 as errors (a test scan that training sees), D7 as a warning, one for each group.
    """
    groups: dict[str, list[tuple[Role, str]]] = defaultdict(list)
    for role, path, digest in images:
        groups[digest].append((role, path))
    return [_duplicates(group) for group in groups.values() if len(group) > 1]


def patient_problems(cases: Sequence[CaseFiles], root: Path, *, patient_regex: str | None = None) -> list[Problem]:
    """Find patients with scans on both sides, by ``patients.csv`` or by a regular expression over case names.

    Args:
        cases: all cases.
        root: the dataset folder, which may hold ``patients.csv`` with the columns ``case`` and ``patient``.
        patient_regex: its first group (or all that it matches) is the patient; it goes before the file.

    Raises:
        UsageError: C2, the regular expression is not valid.
    """
    if patient_regex is not None:
        source, patient_of = "--patient-regex", _by_regex(patient_regex)
        found: list[Problem] = []
    elif (root / PATIENTS_FILE).is_file():
        table, found = _read_patients(root / PATIENTS_FILE)
        source, patient_of = PATIENTS_FILE, table.get
    else:
        return []
    unknown = [case.name for case in cases if patient_of(case.name) is None]
    if unknown:
        found.append(Problem("D10", "warning", source, f"says nothing about the patient of {len(unknown)} of "
                             f"{len(cases)} cases: {first_names(unknown)}", "cover every case"))
    return found + _shared_patients(cases, patient_of, source)


def _duplicates(group: list[tuple[Role, str]]) -> Problem:
    test = [path for role, path in group if role == "test"]
    train = [path for role, path in group if role == "train"]
    unlabeled = [path for role, path in group if role == "unlabeled"]
    if test and train:
        return Problem("D8", "error", train[0], f"the same voxels are in training and test: {_paths(train + unlabeled)}"
                       f" = {_paths(test)}", "remove the scan from one of the two sides")
    if test and unlabeled:
        return Problem("D9", "error", unlabeled[0], f"an unlabeled training scan has the same voxels as a test scan: "
                       f"{_paths(unlabeled)} = {_paths(test)}", "remove it from the unlabeled scans")
    paths = sorted(path for _, path in group)
    return Problem("D7", "warning", paths[0], f"the same voxels appear {len(paths)} times: {_paths(paths)}",
                   "keep one of them (and check that their masks agree)")


def _paths(paths: list[str]) -> str:
    return first_names(sorted(paths), 10)


def _by_regex(pattern: str) -> Callable[[str], str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError("C2", "--patient-regex", f"'{pattern}' is not a regular expression: {error}",
                         r"give one whose first group is the patient, for example '(p\d+)_'") from None

    def patient_of(name: str) -> str | None:
        match = compiled.search(name)
        return None if match is None else match.group(1 if compiled.groups else 0)

    return patient_of


def _read_patients(path: Path) -> tuple[dict[str, str], list[Problem]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            if not {"case", "patient"} <= set(columns):
                return {}, [Problem("D10", "error", PATIENTS_FILE, f"has the columns {', '.join(columns) or 'none'}, "
                                    "expected case and patient", "name the two columns case and patient")]
            return {row["case"]: row["patient"] for row in reader if row["case"] and row["patient"]}, []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return {}, [Problem("D10", "error", PATIENTS_FILE, f"cannot be read: {error}",
                            "save it as UTF-8 text with comma-separated columns case and patient")]


def _shared_patients(cases: Sequence[CaseFiles], patient_of: Callable[[str], str | None],
                     source: str) -> list[Problem]:
    sides: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for case in cases:
        patient = patient_of(case.name)
        if patient is not None:
            sides[patient][case.role == "test"].append(case.name)
    return [Problem("D10", "error", source, f"patient {patient} is in training ({first_names(train)}) and in test "
                    f"({first_names(test)})", "keep all scans of a patient on one side")
            for patient, (train, test) in sorted(sides.items()) if train and test]
