"""A comparison can be asked for more: new methods, seeds or numbers of labeled cases, on the same ground as before."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semivox.compare.plan import NO_UNLABELED, Wanted, notes_of, plan_matrix
from semivox.errors import ResourceError, UsageError
from semivox.matrix import MATRIX_JSON, Matrix, read_matrix, write_matrix

if TYPE_CHECKING:
    from semivox.data.store import Store

LISTS = ("methods", "labeled", "seeds")
NEEDED = {"methods": "--methods supervised,mean_teacher", "labeled": "--labeled 8"}


def plan_into(out: Path, store: Store, given: Mapping[str, Any]) -> Matrix:
    """The matrix of what is asked for, together with what the folder holds; nothing is written.

    Args:
        out: folder of the comparison, new or not.
        store: the prepared dataset.
        given: fields of ``Wanted`` that the user named; the others are as they were asked for before.

    Raises:
        UsageError: something needed is not given, or differs from what the folder was started with.
    """
    old = existing(out)
    known = {key: value for key, value in given.items() if value is not None}
    for name, example in NEEDED.items():
        if old is None and not known.get(name):
            raise UsageError("C2", f"--{name}", "nothing named", f"for example {example}")
    wanted = Wanted(**{**(asked_before(old) if old else {}), **known})
    new = plan_matrix(store, wanted)
    if old and not any(known.get(name) for name in (*LISTS, "draws")):
        # earlier extensions need not fill the product of all that was ever asked: what is there is continued
        new = new._replace(runs=(), footnotes=())
    return merged(old, new, store) if old else new


def commit(out: Path, store: Store, matrix: Matrix) -> Matrix:
    """Write the matrix; what another process has added meanwhile stays."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError("C7", out, f"cannot be created ({error.strerror})", "name a folder that can be written") \
            from None
    with locked(out):
        old = existing(out)
        matrix = merged(old, matrix, store) if old else matrix
        write_matrix(out, matrix)
    return matrix


def existing(out: Path) -> Matrix | None:
    """The comparison that a folder holds, None for a new or empty folder.

    Raises:
        UsageError: C6, the folder holds something else.
    """
    if (out / MATRIX_JSON).is_file():
        return read_matrix(out)
    if out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
        raise UsageError("C6", out, f"already exists and is not a comparison (no {MATRIX_JSON} in it)",
                         "name a new folder")
    return None


def asked_before(old: Matrix) -> dict[str, Any]:
    """The fields of ``Wanted`` that a comparison was started with."""
    asked = old.asked
    return {**{name: tuple(asked[name]) for name in LISTS}, "draws": asked["draws"], "steps": asked["steps"],
            "settings": tuple(asked["set"]), "validation": old.validation, "protocol": old.protocol,
            "reference": old.reference, "peek_every": old.peek_every}


def merged(old: Matrix, new: Matrix, store: Store) -> Matrix:
    """All runs of both; the reference is the newer one's.

    Raises:
        UsageError: C3, they do not stand on the same ground; says what differs.
    """
    require_same_ground(old, new)
    paths = {spec.path for spec in old.runs}
    asked = {**new.asked, **{name: list(dict.fromkeys([*old.asked[name], *new.asked[name]])) for name in LISTS},
             "draws": max(old.asked["draws"], new.asked["draws"])}
    matrix = new._replace(asked=asked, runs=(*old.runs, *(spec for spec in new.runs if spec.path not in paths)))
    absent = [label for note in (*old.footnotes, *new.footnotes) if note["text"] == NO_UNLABELED
              for label in note["methods"]]
    notes = notes_of(store, matrix)
    if absent:
        notes.append({"methods": sorted(set(absent)), "text": NO_UNLABELED})
    return matrix._replace(footnotes=tuple(notes))


def require_same_ground(old: Matrix, new: Matrix) -> None:
    """Refuse to put runs side by side that cannot be compared.

    Raises:
        UsageError: C3.
    """
    pairs = {
        "the store": (old.store_digest[:12], new.store_digest[:12]),
        "--steps": (old.asked["steps"], new.asked["steps"]),
        "--validation": (old.validation, new.validation),
        "--protocol": (old.protocol, new.protocol),
        "--show-test-peeking": (old.peek_every, new.peek_every),
        "--set": (" ".join(old.asked["set"]), " ".join(new.asked["set"])),
    }
    other = [f"{name} was {before or 'none'}, now {now or 'none'}"
             for name, (before, now) in pairs.items() if before != now]
    if other:
        raise UsageError("C3", MATRIX_JSON, "this comparison was started in another way: " + "; ".join(other),
                         "leave these options out, or name a new folder")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the matrix for the time of a change; others wait. The kernel drops the lock when the process dies."""
    with open(out / ".matrix-lock", "a+", encoding="utf-8") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        yield
