"""The literature's layout of the left atrium data: ``<id>/mri_norm2.h5`` with ``train.list`` and ``test.list``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semivox.data.cases import LA_FILE, CaseFiles, Dataset
from semivox.data.layouts.splits import apply_splits
from semivox.data.problems import Problem, relative
from semivox.wording import count_of, first_names

LISTS = {"train": "train.list", "test": "test.list"}


def find_la_files(root: Path) -> dict[str, tuple[Path, ...]]:
    """The HDF5 files by case: in ``root/<id>/``, or one folder deeper (``2018LA_Seg_Training Set/<id>/``)."""
    found: dict[str, tuple[Path, ...]] = {}
    for pattern in (f"*/{LA_FILE}", f"*/*/{LA_FILE}"):
        for path in sorted(root.glob(pattern)):
            name = path.parent.name
            found[name] = (*found.get(name, ()), path)
    return found


def read_la_folder(root: Path, files: dict[str, tuple[Path, ...]]) -> Dataset:
    """Build the dataset from its files and lists. Cases in neither list are left out, as the literature does."""
    splits = _read_lists(root)
    problems = [_clash(name, paths, root) for name, paths in files.items() if len(paths) > 1]
    cases = [_case(name, paths[0]) for name, paths in sorted(files.items())]
    if not splits:
        problems.append(Problem("D12", "note", ".", f"no {LISTS['train']}: every case is a training case",
                                f"put {LISTS['train']} and {LISTS['test']} beside the case folders"))
    else:
        listed = {name for names in splits.values() for name in names}
        unlisted = [case.name for case in cases if case.name not in listed]
        if unlisted:
            problems.append(Problem("D12", "warning", LISTS["train"], f"{count_of(len(unlisted), 'case')} in neither "
                                    f"list left out: {first_names(unlisted)}", "add the names to one of the lists"))
        cases = [case for case in cases if case.name in listed]
    placed, found = apply_splits(cases, splits or None, file=LISTS["train"])
    return Dataset(root=root, layout="la_h5", name=root.resolve().name, channel_names=("MRI",), class_names=None,
                   cases=tuple(sorted(placed, key=_order)), splits=splits or None,
                   problems=(*problems, *found, _classes_note()))


def _order(case: CaseFiles) -> tuple[int, str]:
    return ("train", "unlabeled", "test").index(case.role), case.name


def _read_lists(root: Path) -> dict[str, Any]:
    splits = {}
    for key, file in LISTS.items():
        path = next((folder / file for folder in (root, root.resolve().parent) if (folder / file).is_file()), None)
        if path is not None:
            lines = path.read_text(encoding="utf-8-sig", errors="backslashreplace").splitlines()
            splits[key] = [line.strip() for line in lines if line.strip()]
    return splits


def _case(name: str, path: Path) -> CaseFiles:
    has_label = _has_label(path)
    return CaseFiles(name, (path,), path if has_label else None, "train" if has_label else "unlabeled")


def _has_label(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return "label" in set(file)  # "in file" would follow links
    except OSError:
        # What is wrong with the file is said by whoever reads its voxels; until then it counts as labeled.
        return True


def _clash(name: str, paths: tuple[Path, ...], root: Path) -> Problem:
    return Problem("D6", "error", name, f"two files are this case: {first_names(relative(p, root) for p in paths)}",
                   "keep one of them")


def _classes_note() -> Problem:
    return Problem("J1", "note", ".", "this layout has no dataset.json: the classes come from the masks",
                   "nothing to do")
