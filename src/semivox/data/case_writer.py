"""One case into the store: what a worker process does. Everything here takes and gives small picklable records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semivox.data.cases import CaseFiles
from semivox.data.fingerprint import CaseSummary, summarize_case
from semivox.data.layouts.read import is_la_file, read_case_images, read_case_label
from semivox.data.provenance import Digests, digest_files, image_key, label_key
from semivox.data.records import file_record, folder_faults, save_array
from semivox.data.store import (
    CASE_JSON,
    FOREGROUND,
    IMAGE,
    LABEL,
    LABEL_JSON,
    StoredCase,
    case_to_json,
)
from semivox.errors import InputError
from semivox.fsio import atomic_file, atomic_folder, json_text, read_json, sha256_file
from semivox.imaging.files import Scan, read_header, split_ending, write_image, write_label
from semivox.imaging.integrity import verify_complete
from semivox.imaging.plan import Plan
from semivox.imaging.preprocess import Prepared, check_case, check_same_grid, prepare_case, prepare_label
from semivox.seeding import numpy_generator

FOREGROUND_PER_CLASS = 2000


class Inspected(NamedTuple):
    """A case read once."""

    summary: CaseSummary
    digests: Digests


class WriteJob(NamedTuple):
    """A training case to be written, unless it is there already."""

    case: CaseFiles
    plan: Plan
    digests: Digests
    store: Path


class Written(NamedTuple):
    """A case that is in the store."""

    stored: StoredCase
    key: str
    files: dict[str, dict[str, Any]]
    """Test cases only: files relative to the store, with size and checksum."""


def inspect_case(case: CaseFiles) -> Inspected:
    """Read the images of a training case for the fingerprint (not its label), and the checksums of all its files.

    Raises:
        InputError: a file is damaged, or the channels lie on different grids.
    """
    digests = digest_files(case)
    scans = read_case_images(case)
    for index, scan in enumerate(scans[1:], start=1):
        check_same_grid(scans[0], scan, subject=case.name, what=f"channel {index}")
    return Inspected(summarize_case(case.name, scans), digests)


def finished_case(job: WriteJob) -> Written | None:
    """The record of a case that is in the store, undamaged and with the same keys; None otherwise."""
    folder, label_folder = job.store / "cases" / job.case.name, job.store / "labels" / job.case.name
    try:
        record = read_json(folder / CASE_JSON)
        keys = [record["key"]]
        if job.case.label is not None:
            keys.append(read_json(label_folder / LABEL_JSON)["key"])
        if keys != _keys(job):
            return None
        stored = StoredCase.from_json(record["case"])
    except (InputError, KeyError, TypeError, ValueError):
        return None
    faults = folder_faults(folder, CASE_JSON)
    if job.case.label is not None:
        faults += folder_faults(label_folder, LABEL_JSON)
    elif label_folder.exists():
        return None
    stored = stored._replace(role=job.case.role, has_label=job.case.label is not None)
    return None if faults else _written(job, stored)


def write_case(job: WriteJob) -> Written:
    """Prepare one training case and write it atomically: the label first, then the image.

    Raises:
        InputError: a file is damaged, image and label do not match, a label value is not declared (I31), or a file
            has changed since it was inspected (D18).
    """
    case = job.case
    scans, label = read_case_images(case), None if case.label is None else read_case_label(case)
    check_case(scans, label, job.plan, case=case.name)
    if digest_files(case) != job.digests:
        raise InputError("D18", case.name, "a file changed while it was prepared", "run the command again")
    keys = _keys(job)
    label_folder = job.store / "labels" / case.name
    if label is None:
        shutil.rmtree(label_folder, ignore_errors=True)
    else:
        prepared_label = prepare_label(label, scans[0].geometry, job.plan)
        del label  # each stage needs the memory of the one before
        _write_label(label_folder, prepared_label, job.plan, key=keys[1], seed_name=case.name)
        del prepared_label
    prepared = prepare_case(scans, None, job.plan, case=case.name, reuse=True)
    del scans
    x, y, z = prepared.image.shape[1:]
    stored = StoredCase(name=case.name, role=case.role, shape=(x, y, z), has_label=case.label is not None,
                        geometry=prepared.geometry)
    _write_image(job.store / "cases" / case.name, prepared, stored, plan=job.plan, key=keys[0])
    return _written(job, stored)


def copy_test_case(job: WriteJob) -> Written:
    """Copy a test scan and its reference byte for byte; of files that hold several things each is written as NIfTI.

    Raises:
        InputError: a file is damaged or its header is not usable.
    """
    case, files = job.case, {}
    if is_la_file(case.images[0]):
        images, reference = _convert_la_test(case, job.store)
    elif case.stacked > 1:
        images = _write_channels(case, job.store)
        reference = _copy_reference(case, job.store)
    else:
        images = [_copy(path, job.store / "imagesTs" / f"{case.name}_{index:04d}{split_ending(path.name)[1]}")
                  for index, path in enumerate(case.images)]
        reference = _copy_reference(case, job.store)
    for path in [*images, *([] if reference is None else [reference])]:
        files[path.relative_to(job.store).as_posix()] = file_record(path)
    header = read_header(images[0])
    geometry = header.geometry
    if is_la_file(case.images[0]):
        geometry = geometry._replace(spacing_known=False)
    x, y, z = header.shape
    stored = StoredCase(
        name=case.name, role="test", shape=(x, y, z), has_label=case.label is not None, geometry=geometry,
        images=tuple(path.relative_to(job.store).as_posix() for path in images),
        reference=None if reference is None else reference.relative_to(job.store).as_posix())
    return Written(stored, "/".join(sorted(record["sha256"] for record in files.values())), files)


def foreground_positions(label: NDArray[np.unsignedinteger], classes: int, seed_name: str) -> NDArray[np.int32]:
    """Up to 2000 seeded random positions of each foreground class, (n, 4) rows (class, x, y, z), sorted by class."""
    rows = []
    for index in range(1, classes):
        found = np.flatnonzero(label == index)
        if len(found) > FOREGROUND_PER_CLASS:
            generator = numpy_generator(0, "foreground", seed_name, index)
            found = np.sort(generator.choice(found, FOREGROUND_PER_CLASS, replace=False))
        rows.append(np.stack([np.full(len(found), index), *np.unravel_index(found, label.shape)], axis=1))
    return np.concatenate(rows).astype(np.int32)


def _write_label(folder: Path, label: NDArray[np.unsignedinteger], plan: Plan, *, key: str, seed_name: str) -> None:
    with atomic_folder(folder) as temporary:
        positions = foreground_positions(label, plan.classes, seed_name)
        files = {LABEL: _save(temporary / LABEL, label, plan),
                 FOREGROUND: save_array(temporary / FOREGROUND, positions)}
        (temporary / LABEL_JSON).write_text(json_text({"key": key, "files": files}), encoding="utf-8")


def _write_image(folder: Path, prepared: Prepared, stored: StoredCase, *, plan: Plan, key: str) -> None:
    record = {"key": key, "case": case_to_json(stored), "source_shape": list(prepared.source_shape),
              "orientation": {"axes": list(prepared.orientation.axes), "flips": list(prepared.orientation.flips)}}
    with atomic_folder(folder) as temporary:
        files = {IMAGE: _save(temporary / IMAGE, prepared.image, plan)}
        (temporary / CASE_JSON).write_text(json_text({**record, "files": files}), encoding="utf-8")


def _save(path: Path, array: NDArray[Any], plan: Plan) -> dict[str, Any]:
    """The last axis is the slowest in files for 2D work: a slice is then one run of bytes."""
    return save_array(path, array, order="F" if plan.dimensions == 2 else "C")


def _copy(source: Path, target: Path) -> Path:
    verify_complete(source)
    if not target.is_file() or sha256_file(target) != sha256_file(source):
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)
    return target


def _copy_reference(case: CaseFiles, store: Path) -> Path | None:
    if case.label is None:
        return None
    return _copy(case.label, store / "labelsTs" / f"{case.name}{split_ending(case.label.name)[1]}")


def _write_channels(case: CaseFiles, store: Path) -> list[Path]:
    """One 3D file for each channel of a 4D file, as prediction takes them."""
    written = []
    for index, scan in enumerate(read_case_images(case)):
        written.append(store / "imagesTs" / f"{case.name}_{index:04d}.nii.gz")
        write_image(written[-1], scan.array, scan.geometry)
    return written


def _convert_la_test(case: CaseFiles, store: Path) -> tuple[list[Path], Path | None]:
    image = read_case_images(case)[0]
    target = store / "imagesTs" / f"{case.name}_0000.nii.gz"
    write_image(target, image.array, image.geometry)
    if case.label is None:
        return [target], None
    label: Scan = read_case_label(case)
    reference = store / "labelsTs" / f"{case.name}.nii.gz"
    write_label(reference, label.array, label.geometry)
    return [target], reference


def _keys(job: WriteJob) -> list[str]:
    keys = [image_key(job.digests, job.plan)]
    return keys if job.case.label is None else [*keys, label_key(job.digests, job.plan)]


def _written(job: WriteJob, stored: StoredCase) -> Written:
    return Written(stored, "/".join(_keys(job)), {})
