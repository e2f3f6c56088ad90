"""The prepared store: everything that training, prediction and evaluation need, as plain files.

    STORE/store.json            what is in it; written last, so a store without it is incomplete
    STORE/plan.json fingerprint.json splits.json
    STORE/cases/<case>/         image.npy (C, X, Y, Z) float32, case.json
    STORE/labels/<case>/        label.npy (X, Y, Z), foreground.npy, label.json
    STORE/imagesTs/ labelsTs/   test scans and references, as they came, on their own grids

Labels lie in a folder of their own: nothing here opens one unless it is asked for that case. Arrays are plain
``.npy`` files, memory-mapped: slicing reads a patch (docs/concepts/prepared-store.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semivox.errors import InputError
from semivox.fsio import read_json, sha256_file
from semivox.imaging.geometry import Geometry
from semivox.imaging.plan import Plan, load_plan

FORMAT = 1
STORE_JSON, PLAN_JSON, FINGERPRINT_JSON, SPLITS_JSON = "store.json", "plan.json", "fingerprint.json", "splits.json"
IMAGE, LABEL, FOREGROUND = "image.npy", "label.npy", "foreground.npy"
CASE_JSON, LABEL_JSON = "case.json", "label.json"


class StoredCase(NamedTuple):
    """One case of a store."""

    name: str
    role: str
    """``"train"``, ``"unlabeled"`` or ``"test"``."""
    shape: tuple[int, int, int]
    """Voxels (X, Y, Z) of the prepared arrays; of the scan itself for a test case."""
    has_label: bool
    """Whether the dataset has a label (the file may have been taken out of the store since)."""
    geometry: Geometry
    """Of the source scan."""
    images: tuple[str, ...] = ()
    """Test cases only: the scan's files, one a channel, relative to the store."""
    reference: str | None = None
    """Test cases only: the reference label map, relative to the store."""

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> StoredCase:
        """Read what ``case_to_json`` gave."""
        geometry = entry["geometry"]
        return cls(
            name=entry["name"], role=entry["role"], shape=tuple(entry["shape"]), has_label=bool(entry["has_label"]),
            geometry=Geometry(spacing_mm=tuple(geometry["spacing_mm"]), origin_mm=tuple(geometry["origin_mm"]),
                              direction=tuple(geometry["direction"]), spacing_known=bool(geometry["spacing_known"])),
            images=tuple(entry["images"]), reference=entry["reference"])


class Store:
    """A prepared dataset, opened for reading. Paths inside are relative: the folder can be moved and renamed."""

    def __init__(self, path: Path, manifest: dict[str, Any], plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.name: str = manifest["name"]
        self.digest: str = manifest["digest"]
        """Changes when the content of any case or the plan changes."""
        self.train_order: tuple[str, ...] = tuple(manifest["train_order"])
        self.cases: tuple[StoredCase, ...] = tuple(StoredCase.from_json(entry) for entry in manifest["cases"])
        self.failed: tuple[str, ...] = tuple(manifest["failed"])
        """Cases of the dataset that could not be prepared and are not in the store."""
        self._by_name = {case.name: case for case in self.cases}
        self._manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a complete store.

        Raises:
            InputError: when the folder is missing, is not a store, or was not prepared to the end.
        """
        path = Path(path)
        if not (path / STORE_JSON).is_file():
            problem = "not a prepared store, or `semivox prepare` did not finish (no store.json)"
            raise InputError("K6", path, problem if path.is_dir() else "folder not found",
                             f"run `semivox prepare DATA {path}`, with the same options if it was stopped")
        manifest = read_json(path / STORE_JSON)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
            raise InputError("K8", path / STORE_JSON, f"format {found!r}, expected {FORMAT}",
                             "run `semivox prepare` of this version into a new folder")
        try:
            return cls(path, manifest, load_plan(path / PLAN_JSON))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("K6", path / STORE_JSON, f"damaged: {type(error).__name__} {error}",
                             "run `semivox prepare` again") from None

    def case(self, name: str) -> StoredCase:
        """The record of one case.

        Raises:
            InputError: when the store has no such case.
        """
        if name not in self._by_name:
            raise InputError("D12", name, f"no such case in {self.path} ({len(self.cases)} cases)",
                             "take a name from store.json")
        return self._by_name[name]

    def image(self, name: str) -> np.ndarray:
        """Read-only memory map (C, X, Y, Z) float32; slicing it reads a patch, not the volume."""
        return self._map(self.path / "cases" / self.case(name).name / IMAGE)

    def label(self, name: str) -> np.ndarray:
        """Read-only memory map (X, Y, Z) of class indices 0..K-1.

        Raises:
            InputError: when the case has no label, or its file is not in the store.
        """
        return self._map(self.path / "labels" / self.case(name).name / LABEL)

    def foreground(self, name: str) -> np.ndarray:
        """Sampled foreground positions, (n, 4) int32 rows (class, x, y, z), at most 2000 a class."""
        return self._map(self.path / "labels" / self.case(name).name / FOREGROUND)

    def test_images(self, name: str) -> list[Path]:
        """The files of a test scan, one a channel."""
        return [self.path / file for file in self.case(name).images]

    def reference(self, name: str) -> Path | None:
        """The reference label map of a test scan on the scan's own grid, if there is one."""
        file = self.case(name).reference
        return None if file is None else self.path / file

    def verify(self) -> list[str]:
        """Compare every file with its recorded checksum; one line for each that differs or is missing."""
        faults = []
        for case in self.cases:
            if case.role == "test":
                continue
            faults += folder_faults(self.path / "cases" / case.name, CASE_JSON)
            if case.has_label:
                faults += folder_faults(self.path / "labels" / case.name, LABEL_JSON)
        faults += _file_faults(self.path, self._manifest["test_files"])
        return faults

    def _map(self, path: Path) -> np.ndarray:
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return array
        except FileNotFoundError:
            raise InputError("T19", path, "file not found in the store", "run `semivox prepare` again") from None
        except (ValueError, EOFError, OSError) as error:
            raise InputError("T19", path, f"damaged array file: {error}", "run `semivox prepare` again") from None


class LabelAccess:
    """The labels that a training process may see: those of ``allowed`` cases; any other request fails."""

    def __init__(self, store: Store, allowed: Iterable[str]) -> None:
        self._store, self.allowed = store, frozenset(allowed)

    def label(self, name: str) -> np.ndarray:
        """As ``Store.label``.

        Raises:
            PermissionError: when the case is not one of ``allowed``.
        """
        self._check(name)
        return self._store.label(name)

    def foreground(self, name: str) -> np.ndarray:
        """As ``Store.foreground``.

        Raises:
            PermissionError: when the case is not one of ``allowed``.
        """
        self._check(name)
        return self._store.foreground(name)

    def _check(self, name: str) -> None:
        if name not in self.allowed:
            raise PermissionError(f"the label of case {name!r} is hidden from this process")


def folder_faults(folder: Path, record_name: str) -> list[str]:
    """What is wrong with a case folder, compared with the sizes and checksums in its record; empty when intact."""
    try:
        record = read_json(folder / record_name)
        return _file_faults(folder, record["files"])
    except (InputError, KeyError, TypeError) as error:
        return [f"{folder / record_name}: {error.problem if isinstance(error, InputError) else 'not a case record'}"]


def file_record(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as stored beside it."""
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def case_to_json(case: StoredCase) -> dict[str, Any]:
    """A JSON value that ``Store`` reads back."""
    return {**case._asdict(), "geometry": case.geometry._asdict()}


def _file_faults(folder: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    faults = []
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{path}: missing")
        elif path.stat().st_size != expected["bytes"]:
            faults.append(f"{path}: {path.stat().st_size} bytes, recorded {expected['bytes']}")
        elif sha256_file(path) != expected["sha256"]:
            faults.append(f"{path}: checksum differs from the record")
    return faults
