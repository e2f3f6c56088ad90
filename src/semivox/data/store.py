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

from semivox.data.records import PREPARE_AGAIN, Fault, file_faults, folder_faults, require_sizes
from semivox.errors import InputError, UsageError
from semivox.fsio import read_json
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
        """Changes when the content of any case, the plan or a list that decides a split changes."""
        self.train_order: tuple[str, ...] = tuple(manifest["train_order"])
        """Training cases in the order in which ``labeled`` cases are taken."""
        self.validation_order: tuple[str, ...] = tuple(manifest.get("val", ()))
        """Cases that the dataset reserves for validation; empty when it names none."""
        self.labeled_subsets: dict[int, tuple[str, ...]] = {
            int(count): tuple(names) for count, names in manifest.get("labeled", {}).items()}
        """The labeled subsets that come with the dataset, by their size."""
        self.cases: tuple[StoredCase, ...] = tuple(StoredCase.from_json(entry) for entry in manifest["cases"])
        self.failed: tuple[str, ...] = tuple(manifest["failed"])
        """Cases of the dataset that could not be prepared and are not in the store."""
        self._by_name = {case.name: case for case in self.cases}
        self._manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a complete store.

        Raises:
            InputError: when the folder is missing, is not a store, was not prepared to the end, or an image has
                another size than was written (T19).
        """
        store = cls.read(path)
        for case in store.cases:
            if case.role != "test":
                require_sizes(store.path / "cases" / case.name, CASE_JSON)
        return store

    @classmethod
    def read(cls, path: Path | str) -> Store:
        """Read the manifest and the plan alone, as ``verify`` needs: files may be missing or damaged.

        Raises:
            UsageError: when there is no such folder.
            InputError: when it is not a store, or was not prepared to the end.
        """
        path = Path(path)
        if not (path / STORE_JSON).is_file():
            if not path.is_dir():
                raise UsageError("D1", path, "folder not found", "name a folder that `semivox prepare` wrote")
            if (path / "imagesTr").is_dir():
                raise InputError("K6", path, "a dataset folder, not a prepared store",
                                 f"run `semivox prepare {path} STORE` and use STORE")
            raise InputError("K6", path, "not a prepared store, or `semivox prepare` did not finish (no store.json)",
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

    def verify(self) -> list[Fault]:
        """Compare every file with its recorded checksum; one fault for each that differs or is missing."""
        faults = []
        for case in self.cases:
            if case.role == "test":
                continue
            faults += folder_faults(self.path / "cases" / case.name, CASE_JSON)
            if case.has_label:
                faults += folder_faults(self.path / "labels" / case.name, LABEL_JSON)
        return faults + file_faults(self.path, self._manifest["test_files"])

    def _map(self, path: Path) -> np.ndarray:
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return array
        except FileNotFoundError:
            raise InputError("T19", path, "file not found in the store", PREPARE_AGAIN) from None
        except (ValueError, EOFError, OSError) as error:
            raise InputError("T19", path, f"damaged array file: {error}", PREPARE_AGAIN) from None


class LabelAccess:
    """The labels that a training process may see: those of ``allowed`` cases; any other request fails.

    Raises:
        InputError: T19, a label of these cases is missing or has another size than was written.
    """

    def __init__(self, store: Store, allowed: Iterable[str]) -> None:
        self._store, self.allowed = store, frozenset(allowed)
        for name in sorted(self.allowed):
            require_sizes(store.path / "labels" / name, LABEL_JSON)

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


def case_to_json(case: StoredCase) -> dict[str, Any]:
    """A JSON value that ``Store`` reads back."""
    return {**case._asdict(), "geometry": case.geometry._asdict()}
