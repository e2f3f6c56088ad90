"""Which cases are labeled, unlabeled, for validation and for testing: pure lists of names, and a JSON form.

The labels of the training cases outside ``labeled`` are hidden: their images join the unlabeled stream.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semivox.errors import InputError, UsageError
from semivox.seeding import numpy_generator
from semivox.wording import first_names

if TYPE_CHECKING:
    from semivox.data.store import Store

FORMAT = 1


class Split(NamedTuple):
    """Names of cases, in the order in which they are used."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    """Training images whose labels are hidden or absent; validation images are among them."""
    validation: tuple[str, ...]
    """Only the validator reads their labels."""
    test: tuple[str, ...]


def choose_split(store: Store, *, labeled: int | None, draw: int | None = None, validation: int = 0) -> Split:
    """Choose the labeled subset and the validation cases of a store.

    Args:
        store: the prepared store; its train list gives the order.
        labeled: number of labeled cases; None takes all that have a label (the upper bound).
        draw: a number draws the labeled cases with that seed. None takes the subset of this size that the dataset
            lists, or else the first ``labeled`` of the train list.
        validation: number of validation cases: the first of the dataset's validation list, whose cases are never
            labeled ones, however few are used. Without such a list, the last of the train list that are not in
            the listed subset.

    Raises:
        UsageError: when the numbers ask for more cases than there are, with the maximum.
        InputError: D12, a listed case is not in the store or has no label.
    """
    listed = [store.case(name) for name in store.train_order]
    reserved = set(store.validation_order)
    with_label = [case.name for case in listed if case.has_label and case.name not in reserved]
    subset = _subset(store, labeled) if draw is None else None
    if store.validation_order:
        validators = _first(_require_labels(store, store.validation_order, "val"), validation)
    else:
        validators = _last(with_label, validation, taken=subset or ())
    available = [name for name in with_label if name not in set(validators)]
    chosen = subset or _choose(available, labeled, draw, len(reserved or validators))
    train = [case.name for case in listed]
    train += [case.name for case in store.cases if case.role != "test" and case.name not in set(train)]
    return Split(
        labeled=tuple(chosen), unlabeled=tuple(name for name in train if name not in set(chosen)),
        validation=tuple(validators), test=tuple(case.name for case in store.cases if case.role == "test"))


def split_to_json(split: Split) -> dict[str, Any]:
    """A split as a versioned JSON value that ``split_from_json`` reads back."""
    return {"format": FORMAT, **{name: list(cases) for name, cases in split._asdict().items()}}


def split_from_json(content: object, source: Path | str) -> Split:
    """Read what ``split_to_json`` gave, or what was written by hand in the same form.

    Args:
        content: a parsed JSON value. One without ``format`` is of format 1.
        source: the file that it comes from, named in errors.

    Raises:
        InputError: D12, unknown format or key, a list that is not of names, or a case at two places that exclude
            each other.
    """
    found = {"format": FORMAT, **content} if isinstance(content, dict) else {}
    expected = {"format", *Split._fields}
    if found.get("format") != FORMAT or set(found) != expected:
        shown = f"the keys {sorted(found)} with format {found.get('format')!r}" if found else type(content).__name__
        raise InputError("D12", source, f"the split has {shown}, expected the keys {sorted(expected)} with format "
                         f"{FORMAT}", "write the split with this version of semivox")
    for name in Split._fields:
        if not isinstance(found[name], list) or not all(isinstance(case, str) for case in found[name]):
            raise InputError("D12", source, f"'{name}' is not a list of case names",
                             f"write '{name}' as a list of strings")
    split = Split(**{name: tuple(found[name]) for name in Split._fields})
    _refuse_contradictions(split, source)
    return split


def _refuse_contradictions(split: Split, source: Path | str) -> None:
    for name, cases in split._asdict().items():
        twice = sorted({case for case in cases if cases.count(case) > 1})
        if twice:
            raise InputError("D12", source, f"'{name}' names {first_names(twice)} twice", "name each case once")
    pairs = [("labeled", "unlabeled"), ("labeled", "validation"), ("labeled", "test"), ("unlabeled", "test"),
             ("validation", "test")]
    for first, second in pairs:
        both = sorted(set(getattr(split, first)) & set(getattr(split, second)))
        if both:
            raise InputError("D12", source, f"{len(both)} cases are both in '{first}' and in '{second}': "
                             f"{first_names(both)}", "keep each case in one of the two lists")


def _subset(store: Store, labeled: int | None) -> list[str] | None:
    """The labeled subset of this size that came with the dataset."""
    names = None if labeled is None else store.labeled_subsets.get(labeled)
    return None if names is None else _require_labels(store, names, f"labeled[{labeled}]")


def _require_labels(store: Store, names: Collection[str], what: str) -> list[str]:
    with_label = {case.name for case in store.cases if case.role != "test" and case.has_label}
    unusable = [name for name in names if name not in with_label]
    if unusable:
        raise InputError("D12", store.path, f"the dataset's {what} list names cases that have no label or could not be "
                         f"prepared: {first_names(unusable)}", "correct splits.json or the files, and prepare again")
    return list(names)


def _first(names: list[str], count: int) -> list[str]:
    if not 0 <= count <= len(names):
        raise UsageError("D13", "data.validation", f"{count} validation cases asked for, the dataset's val list has "
                         f"{len(names)}", f"ask for 0 to {len(names)}")
    return names[:count]


def _last(names: list[str], count: int, *, taken: Collection[str]) -> list[str]:
    if count < 0:
        raise UsageError("C2", "data.validation", f"{count} validation cases, expected 0 or more", "give a count")
    free = [name for name in names if name not in taken]
    most = len(free) if taken else max(0, len(names) - 1)
    if count > most:
        used = f"{len(taken)} of them are the labeled subset" if taken else "training needs at least 1"
        raise UsageError("D13", "data.validation", f"{count} validation cases asked for, the train list has "
                         f"{len(names)} cases with a label and {used}", f"ask for at most {most}")
    return free[len(free) - count:]


def _choose(available: list[str], labeled: int | None, draw: int | None, validation: int) -> list[str]:
    count = len(available) if labeled is None else labeled
    reserved = f" ({validation} kept for validation beside them)" if validation else ""
    if not available:
        raise UsageError("D13", "data.labeled", f"no training case has a label{reserved}", "add label maps to labelsTr")
    if not 1 <= count <= len(available):
        problem = f"{count} labeled cases asked for, the data has {len(available)}{reserved}"
        fix = "ask for 1" if len(available) == 1 else f"ask for 1 to {len(available)}, or for all"
        raise UsageError("D13", "data.labeled", problem, fix)
    if draw is None:
        return available[:count]
    order = numpy_generator(draw, "labeled").permutation(len(available))[:count]
    return [available[index] for index in sorted(order)]
