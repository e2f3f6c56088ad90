"""Which label values are scored and what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semivox.data.layouts.json import class_names_from_labels
from semivox.errors import InputError
from semivox.fsio import read_json
from semivox.imaging.files import read_label
from semivox.imaging.plan import load_plan
from semivox.wording import printable


class Declared(NamedTuple):
    """What a file beside the references says about them."""

    names: dict[int, str] | None
    """Foreground classes by label value; None when nothing declares them."""
    spacing_known: bool = True
    """False when the plan of a store says that its scans came without a spacing."""


def declared_beside(references: Path) -> Declared:
    """Read ``dataset.json`` in or above the folder of references, or the ``plan.json`` of a store above it.

    Raises:
        InputError: when the file that was found is damaged or declares classes in a way that is not supported.
    """
    for folder in (references, references.parent):
        path = folder / "dataset.json"
        if path.is_file():
            content = read_json(path)
            labels = content.get("labels") if isinstance(content, dict) else None
            if labels is not None:
                return Declared(_foreground(class_names_from_labels(labels)))
    plan_path = references.parent / "plan.json"
    if plan_path.is_file() and (references.parent / "store.json").is_file():
        plan = load_plan(plan_path)
        return Declared(_foreground(plan.class_names), plan.spacing_known)
    return Declared(None)


def names_from_masks(references: Iterable[Path]) -> dict[int, str]:
    """Classes are the values that any of the references holds, named after themselves.

    Raises:
        InputError: I32 when no reference holds anything but background.
    """
    references = list(references)
    values = sorted({value for path in references for value in label_values(read_label(path).array)})
    if not values:
        raise InputError("I32", references[0].parent, "no reference holds anything but background",
                         "put a dataset.json that declares the labels beside the references")
    return {value: str(value) for value in values}


def label_values(labels: np.ndarray) -> list[int]:
    """Foreground values of a label map, ascending."""
    return [int(value) for value in np.flatnonzero(np.bincount(labels.ravel(order="K"))) if value]


def check_values(labels: np.ndarray, path: Path, names: dict[int, str]) -> None:
    """Refuse label values that are no class: scoring would drop them silently.

    Raises:
        InputError: P11 with each value, its voxels, and the classes.
    """
    counts = np.bincount(labels.ravel(order="K"))
    strange = [value for value in np.flatnonzero(counts).tolist() if value and value not in names]
    if strange:
        listing = ", ".join(f"{value} ({counts[value]:,} voxels)" for value in strange[:5])
        more = f" and {len(strange) - 5} more values" if len(strange) > 5 else ""
        raise InputError("P11", path, printable(f"holds the label {listing}{more}; the classes are {_listed(names)}"),
                         "remap its labels, or declare them in a dataset.json beside the references")


def _listed(names: dict[int, str]) -> str:
    return ", ".join(str(value) if name == str(value) else f"{value} ({name})" for value, name in names.items())


def _foreground(names: tuple[str, ...]) -> dict[int, str]:
    return {value: name for value, name in enumerate(names) if value}
