"""A folder of scans as a list of cases: which layout it has, which files belong together, what each is for.

Files decide. ``dataset.json`` names channels and classes; where its lists or counts differ from the files, the
files are used and the difference is reported. Nothing here reads voxels except ``infer_classes``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from semivox.data.cases import IMAGE_FOLDERS, LA_FILE, CaseFiles, Dataset
from semivox.data.layouts.files import is_hidden
from semivox.data.layouts.images import read_image_folders
from semivox.data.layouts.la import find_la_files, read_la_folder
from semivox.data.layouts.read import read_case_label
from semivox.data.problems import Problem
from semivox.errors import InputError, ResourceError, UsageError
from semivox.imaging.files import IMAGE_ENDINGS
from semivox.wording import first_names

__all__ = ["CaseFiles", "Dataset", "find_dataset", "infer_classes", "names_from_values"]


def find_dataset(root: str | Path) -> Dataset:
    """Recognize the layout of a dataset folder and list its cases.

    Layouts: nnU-Net raw v2 and Decathlon (``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs``, ``imagesUn``,
    optional ``dataset.json`` and ``splits.json``), and the literature's LA folder (``<id>/mri_norm2.h5`` with
    ``train.list`` and ``test.list``).

    Args:
        root: the dataset folder.

    Returns:
        The dataset; ``.problems`` holds every finding about the folder's structure, errors included.

    Raises:
        UsageError: D1, the folder does not exist or is a file (exit code 2).
        ResourceError: D1, no permission to read it (exit code 5).
        InputError: D2, it holds no scan in a known layout (exit code 3).
    """
    root = Path(root)
    _require_readable_folder(root)
    if any((root / folder).is_dir() for folder in IMAGE_FOLDERS):
        dataset = read_image_folders(root)
    elif files := find_la_files(root):
        dataset = read_la_folder(root, files)
    else:
        raise _nothing_found(root)
    if not dataset.cases:
        raise _nothing_found(root)
    return replace(dataset, problems=(*dataset.problems, *_amount_problems(dataset)))


def infer_classes(dataset: Dataset) -> tuple[str, ...]:
    """Name the classes by what the masks of the training cases contain: ``background``, ``class_1``, ...

    Every training mask is read once. A dataset that declares its classes gets those back unread.

    Raises:
        InputError: D13, no training mask; I31, the values are not 0, 1, ..., N without a gap; or whatever the
            reader finds wrong with a mask.
    """
    if dataset.class_names is not None:
        return dataset.class_names
    labeled = [case for case in dataset.of_role("train") if case.label is not None]
    if not labeled:
        raise InputError("D13", dataset.root, "0 labeled training cases, so the masks cannot say what the classes are",
                         "add masks to labelsTr, or declare the classes under \"labels\" in dataset.json")
    values: set[int] = set()
    for case in labeled:
        values.update(np.unique(read_case_label(case).array).tolist())
    return names_from_values(values, subject=dataset.root)


def names_from_values(values: set[int], *, subject: str | Path) -> tuple[str, ...]:
    """``{0, 1, 2}`` -> ``("background", "class_1", "class_2")``; refuses gaps (I31) and masks without foreground."""
    expected = set(range(len(values | {0})))
    if values | {0} != expected:
        mapping = ", ".join(f"{value} to {new}" for new, value in enumerate(sorted(values | {0})) if new != value)
        raise InputError("I31", subject, f"the masks hold the values {first_names(map(str, sorted(values)), 20)} and "
                         f"no dataset.json declares them; expected 0 to {len(expected) - 1} without a gap",
                         f"change {mapping} in the masks, or declare the classes under \"labels\" in dataset.json")
    if len(expected) < 2:
        raise InputError("I32", subject, "every mask is all background (value 0)",
                         "add masks that hold the structure, or declare the classes in dataset.json")
    return ("background", *(f"class_{value}" for value in sorted(expected - {0})))


def _amount_problems(dataset: Dataset) -> list[Problem]:
    """D13: nothing to learn from, or nothing unlabeled to learn from as well."""
    labeled = [case for case in dataset.of_role("train") if case.label is not None]
    if not labeled:
        return [Problem("D13", "error", ".", "0 labeled training cases, the minimum is 1",
                        "add masks with the names of their images to labelsTr")]
    splits = dataset.splits or {}
    hidden = splits.get("val") or any(int(count) < len(labeled) for count in splits.get("labeled", {}))
    if dataset.of_role("unlabeled") or hidden:
        return []
    return [Problem("D13", "warning", ".", f"0 unlabeled cases: with all {len(labeled)} training masks in use only "
                    "the method `supervised` fits",
                    "add images without masks to imagesUn, or let `train --labeled N` hide masks")]


def _require_readable_folder(root: Path) -> None:
    if not root.exists():
        raise UsageError("D1", root, "folder does not exist", "check the path")
    if not root.is_dir():
        raise UsageError("D1", root, "is a file, expected a folder", "give the folder that holds imagesTr")
    try:
        os.scandir(root).close()
    except PermissionError:
        raise ResourceError("D1", root, f"user id {os.getuid()} may not read this folder",
                            "grant read and search permission on it (chmod u+rx)") from None


def _nothing_found(root: Path) -> InputError:
    seen: list[str] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        seen += [(Path(folder) / name).relative_to(root).as_posix() for name in sorted(files) if not is_hidden(name)]
        if len(seen) >= 5:
            break
    found = f"files seen: {', '.join(seen[:5])}" if seen else "the folder holds no file"
    return InputError("D2", root, f"no scan found: looked for {', '.join(IMAGE_ENDINGS)} in "
                      f"{', '.join(IMAGE_FOLDERS)}, and for <case>/{LA_FILE}; {found}",
                      "put training images into imagesTr and their masks, with the same names, into labelsTr")
