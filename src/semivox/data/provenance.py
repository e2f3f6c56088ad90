"""What a store was made from: checksums of inputs, keys of finished cases, and whose folder it is.

A case is done again when its key changes: the content of its files, or a part of the plan that its arrays depend on.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from semivox.data.cases import CaseFiles, Dataset
from semivox.errors import BusyError, InputError, UsageError
from semivox.fsio import fsync_folder, read_json, sha256_file, sha256_json, write_json
from semivox.imaging.plan import ChannelPlan, Plan

MARKER = "request.json"
KIND = "semivox-store"
FORMAT = 1
ARRAYS_VERSION = 1
"""Raise it when the same input and plan give other arrays than before."""
LOCK = ".lock"


class Digests(NamedTuple):
    """SHA-256 of a case's files."""

    images: tuple[str, ...]
    label: str | None


def digest_files(case: CaseFiles) -> Digests:
    """Checksums of the files of a case; an HDF5 file that holds both image and label counts as both."""
    images = tuple(sha256_file(path) for path in case.images)
    if case.label is None:
        return Digests(images, None)
    if case.label in case.images:
        return Digests(images, images[case.images.index(case.label)])
    return Digests(images, sha256_file(case.label))


def image_key(digests: Digests, plan: Plan) -> str:
    """Key of a case's image array."""
    channels = [_channel(channel) for channel in plan.channels]
    return sha256_json({"images": list(digests.images), **_grid(plan), "channels": channels})


def label_key(digests: Digests, plan: Plan) -> str:
    """Key of a case's label array. The image counts as well: its grid is the label's."""
    return sha256_json({"images": list(digests.images), "label": digests.label, **_grid(plan), "classes": plan.classes})


def request_of(recipe: str, user_plan: Plan | None, plan_json: dict[str, Any] | None) -> dict[str, Any]:
    """What the user asked for, as it is kept in the store."""
    return {"recipe": recipe} if user_plan is None else {"plan": sha256_json(plan_json)}


def claim_store(store_path: Path, dataset: Dataset, request: dict[str, Any]) -> None:
    """Make ``store_path`` a store of this dataset and request, or refuse. Nothing is deleted.

    A store that was not finished may be continued with another request; a finished one may only be brought up to
    date with the same.

    Raises:
        UsageError: C6, the folder overlaps the data, is not a store, or was made from other data or another plan.
    """
    _refuse_overlap(store_path, dataset.root)
    content = {"kind": KIND, "format": FORMAT, "dataset": dataset.name, "request": request}
    if store_path.exists() and not store_path.is_dir():
        raise UsageError("C6", store_path, "is a file, expected a folder", "choose another folder for the store")
    if store_path.is_dir() and any(store_path.iterdir()):
        _refuse_foreign(store_path, content)
    store_path.mkdir(parents=True, exist_ok=True)
    write_json(store_path / MARKER, content)


@contextmanager
def locked(store_path: Path) -> Iterator[None]:
    """Hold the store's lock; the kernel drops it when the process dies.

    Raises:
        BusyError: another process prepares this store.
    """
    descriptor = os.open(store_path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BusyError("T22", store_path, "another process is preparing this store",
                        "wait until it has finished, then run the command again") from None
    finally:
        os.close(descriptor)


def unfinish(store_path: Path, manifest_name: str) -> None:
    """Take the manifest away before anything in the store changes: a store without one is incomplete."""
    if (store_path / manifest_name).exists():
        (store_path / manifest_name).unlink()
        fsync_folder(store_path)


def _refuse_overlap(store_path: Path, root: Path) -> None:
    store, data = store_path.resolve(), root.resolve()
    if store == data or store.is_relative_to(data):
        raise UsageError("C6", store_path, f"lies in the data folder {root}", "choose a folder outside of it")
    if data.is_relative_to(store):
        raise UsageError("C6", store_path, f"contains the data folder {root}", "choose a folder of its own")


def _refuse_foreign(store_path: Path, wanted: dict[str, Any]) -> None:
    if not (store_path / MARKER).is_file():
        if not {path.name for path in store_path.iterdir()} - {LOCK}:
            return
        raise UsageError("C6", store_path, "holds files that are not a prepared store", "choose an empty or new folder")
    try:
        found = read_json(store_path / MARKER)
    except InputError as error:
        raise UsageError("C6", store_path / MARKER, error.problem, "choose an empty or new folder") from None
    if not isinstance(found, dict) or found.get("kind") != KIND or found.get("format") != FORMAT:
        raise UsageError("C6", store_path, "was not made by this version of `semivox prepare`",
                         "choose an empty or new folder")
    if found.get("dataset") != wanted["dataset"]:
        raise UsageError("C6", store_path, f"holds the dataset {found.get('dataset')!r}, not {wanted['dataset']!r}",
                         "choose another folder for the store")
    if found.get("request") != wanted["request"] and (store_path / "store.json").exists():
        raise UsageError("C6", store_path, f"was prepared with {_request_text(found.get('request'))}, now asked for is "
                         f"{_request_text(wanted['request'])}", "choose another folder for the store")


def _request_text(request: object) -> str:
    if not isinstance(request, dict):
        return "an unknown plan"
    if "recipe" in request:
        return f"recipe '{request['recipe']}'"
    return f"a plan file (sha256 {str(request.get('plan'))[:8]})"


def _grid(plan: Plan) -> dict[str, Any]:
    return {"version": ARRAYS_VERSION, "dimensions": plan.dimensions,
            "spacing_mm": None if plan.spacing_mm is None else list(plan.spacing_mm)}


def _channel(channel: ChannelPlan) -> list[Any]:
    """The scheme, and the dataset's numbers where the scheme uses them."""
    if channel.scheme != "ct":
        return [channel.scheme]
    return [channel.scheme, channel.mean, channel.std, channel.percentile_00_5, channel.percentile_99_5]
