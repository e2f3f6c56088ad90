"""Which cases are labeled, unlabeled, for validation and for testing: pure lists of names, and a JSON form.

The labels of the training cases outside ``labeled`` are hidden: their images join the unlabeled stream.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from semivox.errors import InputError, UsageError
from semivox.fsio import read_json, write_json
from semivox.seeding import numpy_generator

if TYPE_CHECKING:
    from semivox.data.store import Store

FORMAT = 1


class Split(NamedTuple):
    """Names of cases, in the order in which they are used."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    """Training images whose labels are hidden or absent; validation images are among them."""
    validation: tuple[str, ...]
    """From the end of the train list; only the validator reads their labels."""
    test: tuple[str, ...]


def choose_split(store: Store, *, labeled: int | None, draw: int | None = None, validation: int = 0) -> Split:
    """Choose the labeled subset and the validation cases of a store.

    Args:
        store: the prepared store; its train list gives the order.
        labeled: number of labeled cases; None takes all that have a label (the upper bound).
        draw: None takes the first ``labeled`` of the train list, a number draws them with that seed.
        validation: number of validation cases, taken from the end of the train list.

    Raises:
        UsageError: when the numbers ask for more labeled cases than there are, with the maximum.
    """
    listed = [store.case(name) for name in store.train_order]
    with_label = [case.name for case in listed if case.has_label]
    validators = _last(with_label, validation)
    available = [name for name in with_label if name not in set(validators)]
    chosen = _choose(available, labeled, draw, validation)
    train = [case.name for case in listed]
    train += [case.name for case in store.cases if case.role != "test" and case.name not in set(train)]
    return Split(
        labeled=tuple(chosen), unlabeled=tuple(name for name in train if name not in set(chosen)),
        validation=tuple(validators), test=tuple(case.name for case in store.cases if case.role == "test"))


def save_split(path: Path, split: Split) -> None:
    """Write a split as versioned JSON."""
    write_json(path, {"format": FORMAT, **{name: list(cases) for name, cases in split._asdict().items()}})


def load_split(path: Path) -> Split:
    """Read a split that ``save_split`` wrote, or that was written by hand in the same form.

    Raises:
        InputError: unknown format or key, a list that is not of names, or a case at two places that exclude each other.
    """
    content = read_json(path)
    expected = {"format", *Split._fields}
    if not isinstance(content, dict) or content.get("format") != FORMAT or set(content) != expected:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise InputError("D12", path, f"found {found}, expected the keys {sorted(expected)} with format {FORMAT}",
                         "write the split with this version of semivox")
    for name in Split._fields:
        if not isinstance(content[name], list) or not all(isinstance(case, str) for case in content[name]):
            raise InputError("D12", path, f"'{name}' is not a list of case names",
                             f"write '{name}' as a list of strings")
    split = Split(**{name: tuple(content[name]) for name in Split._fields})
    check_split(split, path)
    return split


def check_split(split: Split, subject: Path | str) -> None:
    """Refuse a case named twice in a list, or at two places that exclude each other.

    Raises:
        InputError: names the lists and the first cases concerned.
    """
    for name, cases in split._asdict().items():
        twice = sorted({case for case in cases if cases.count(case) > 1})
        if twice:
            raise InputError("D12", subject, f"'{name}' names {', '.join(twice[:5])} twice", "name each case once")
    pairs = [("labeled", "unlabeled"), ("labeled", "validation"), ("labeled", "test"), ("unlabeled", "test"),
             ("validation", "test")]
    for first, second in pairs:
        both = sorted(set(getattr(split, first)) & set(getattr(split, second)))
        if both:
            raise InputError("D12", subject, f"{len(both)} cases are both in '{first}' and in '{second}': "
                             f"{', '.join(both[:5])}", "keep each case in one of the two lists")


def _last(names: list[str], count: int) -> list[str]:
    if count < 0:
        raise UsageError("C2", "validation", f"{count} validation cases, expected 0 or more", "give a count")
    if count >= len(names) > 0 or count > len(names):
        raise UsageError("D13", "validation", f"{count} validation cases asked for, the train list has {len(names)} "
                         "cases with a label and training needs at least 1",
                         f"ask for at most {max(0, len(names) - 1)}")
    return names[len(names) - count:]


def _choose(available: list[str], labeled: int | None, draw: int | None, validation: int) -> list[str]:
    count = len(available) if labeled is None else labeled
    reserved = f" ({validation} more are kept for validation)" if validation else ""
    if not available:
        raise UsageError("D13", "labeled", f"no training case has a label{reserved}", "add label maps to labelsTr")
    if not 1 <= count <= len(available):
        raise UsageError("D13", "labeled", f"{count} labeled cases asked for, the data has {len(available)}{reserved}",
                         f"ask for 1 to {len(available)}, or for all")
    if draw is None:
        return available[:count]
    order = numpy_generator(draw, "labeled").permutation(len(available))[:count]
    return [available[index] for index in sorted(order)]
