"""Lists of cases that come with a dataset: ``splits.json``, and what follows for the roles of the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semivox.data.cases import CaseFiles, Role
from semivox.data.problems import Problem
from semivox.errors import InputError
from semivox.fsio import read_json
from semivox.wording import count_of, first_names

FILE = "splits.json"
NNUNET_FILE = "splits_final.json"
LISTS = ("train", "test", "val")
SILENT_KEYS = frozenset({"note", "name", "description", "version", "format"})


def read_splits(root: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Read ``splits.json`` into ``train``, ``test``, ``val`` (lists) and ``labeled`` (count -> list), as present."""
    path = root / FILE
    if not path.is_file():
        if (root / NNUNET_FILE).is_file():
            return None, [Problem("D12", "note", NNUNET_FILE, "nnU-Net's folds are not used",
                                  f'write {FILE} with the lists "train" and "test" to fix the order of the cases')]
        return None, []
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise InputError("D12", FILE, "is not an object", 'write {"train": [...], "test": [...]}')
        splits: dict[str, Any] = {key: _names(content[key], f"$.{key}") for key in LISTS if key in content}
        for key in ("labeled", "labelled"):
            if key in content:
                splits["labeled"] = _labeled(content[key], f"$.{key}")
    except InputError as error:
        return None, [Problem(error.code, "error", FILE, error.problem, error.fix)]
    known = {*LISTS, "labeled", "labelled", *SILENT_KEYS}
    notes = [Problem("J4", "note", FILE, f"the key '{key}' is unknown and is ignored",
                     "the keys used are train, test, val and labeled") for key in content if key not in known]
    return splits, notes


def names_in(splits: dict[str, Any] | None) -> set[str]:
    """Every case name in the lists."""
    return {name for key in LISTS for name in (splits or {}).get(key, ())}


def apply_splits(cases: Iterable[CaseFiles], splits: dict[str, Any] | None, *,
                 file: str = FILE) -> tuple[tuple[CaseFiles, ...], list[Problem]]:
    """Give cases in the test list the role ``test``, and check the lists against the files (D12)."""
    cases = tuple(cases)
    if splits is None:
        return cases, []
    problems = list_problems(splits, file=file)
    roles = {case.name: case.role for case in cases}
    for key in LISTS:
        missing = [name for name in splits.get(key, ()) if name not in roles]
        if missing:
            problems.append(_d12(file, f"the {key} list names {count_of(len(missing), 'case')} without files: "
                                 f"{first_names(missing)}", "add the images, or remove the names from the list"))
    for key in ("train", "val"):
        held = [name for name in splits.get(key, ()) if roles.get(name) == "test"]
        if held:
            problems.append(_d12(file, f"the {key} list names {count_of(len(held), 'case')} of imagesTs: "
                                 f"{first_names(held)}", "move the files to imagesTr (imagesUn when unlabeled), or "
                                 "remove the names from the list"))
    problems += _without_mask(splits, roles, file=file) + _unlisted(cases, splits, file)
    test = set(splits.get("test", ()))
    return tuple(case._replace(role="test") if case.name in test else case for case in cases), problems


def list_problems(splits: dict[str, Any], *, file: str = FILE) -> list[Problem]:
    """What contradicts itself in the lists: a name twice, in two lists, labeled cases outside the train list."""
    problems = []
    lists = {key: list(splits[key]) for key in LISTS if key in splits}
    for key, names in [*lists.items(), *((f"labeled[{n}]", names) for n, names in splits.get("labeled", {}).items())]:
        twice = [name for name, number in Counter(names).items() if number > 1]
        if twice:
            problems.append(_d12(file, f"the {key} list names {first_names(twice)} twice", "remove the repeated name"))
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        problems += _shared(first, lists.get(first, []), second, lists.get(second, []), file=file)
    train = set(lists.get("train", ()))
    for number, names in splits.get("labeled", {}).items():
        for other in ("val", "test"):
            problems += _shared(f"labeled[{number}]", names, other, lists.get(other, []), file=file)
        outside = [name for name in names if train and name not in train]
        if outside:
            problems.append(_d12(file, f"the labeled list '{number}' names {count_of(len(outside), 'case')} outside "
                                 f"the train list: {first_names(outside)}", "take labeled cases from the train list"))
        if int(number) != len(names):
            problems.append(_d12(file, f"the labeled list '{number}' holds {count_of(len(names), 'case')}",
                                 "make the key the number of cases"))
    return problems


def _shared(first: str, names: list[str], second: str, others: list[str], *, file: str) -> list[Problem]:
    both = [name for name in names if name in set(others)]
    if not both:
        return []
    return [_d12(file, f"{count_of(len(both), 'case')} in both the {first} and the {second} list: {first_names(both)}",
                 "keep each case in one list")]


def _without_mask(splits: dict[str, Any], roles: dict[str, Role], *, file: str) -> list[Problem]:
    """Cases that are to be validated or learned from with a mask, and have none."""
    problems = []
    subsets = ((f"labeled[{number}]", names) for number, names in splits.get("labeled", {}).items())
    for key, names in (("val", splits.get("val", [])), *subsets):
        bare = [name for name in names if roles.get(name) == "unlabeled"]
        if bare:
            problems.append(_d12(file, f"the {key} list names {count_of(len(bare), 'case')} without a mask: "
                                 f"{first_names(bare)}", "add the masks to labelsTr, or remove the names"))
    return problems


def _unlisted(cases: tuple[CaseFiles, ...], splits: dict[str, Any], file: str) -> list[Problem]:
    listed = names_in(splits)
    notes = []
    for key, roles in (("train", ("train",)), ("test", ("test",))):
        names = [case.name for case in cases if case.role in roles and case.name not in listed]
        if key in splits and names:
            notes.append(Problem("D12", "note", file, f"{count_of(len(names), 'case')} with files in no list: "
                                 f"{first_names(names)}", f"add the names to the {key} list to use them in its order"))
    return notes


def _names(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError("D12", FILE, f"{where} is not a list of case names", 'write it as ["case_1", "case_2"]')
    return value


def _labeled(value: object, where: str) -> dict[str, list[str]]:
    if isinstance(value, list):
        names = _names(value, where)
        return {str(len(names)): names}
    if not isinstance(value, dict) or not all(key.isascii() and key.isdigit() for key in value):
        raise InputError("D12", FILE, f"{where} is neither a list nor an object of lists by number of cases",
                         'write it as {"4": ["case_1", ...]}')
    return {key: _names(names, f"{where}.{key}") for key, names in value.items()}


def _d12(file: str, problem: str, fix: str) -> Problem:
    return Problem("D12", "error", file, problem, fix)
