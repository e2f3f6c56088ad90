"""Preparation of scans: ``semivox prepare`` with two workers, and the same steps with SimpleITK in one process.

SimpleITK reads a scan and its mask, turns both to LPS, resamples them to 1 mm (cubic B-splines; the nearest voxel
for the mask) where the contest asks for it, gives the scan mean 0 and deviation 1, and NumPy writes both as ``.npy``,
in C order. It keeps its default number of threads. What Semivox does besides (every file read a first time for the
plan, checked to its last byte and against its checksum, every array hashed and safe on the disk before it gets its
name) is not asked of it.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from race import Contest, Setup, Side, Work

from contests.scans import image_files, la_scans, la_store
from semivox.data.case_writer import WriteJob, inspect_case, write_case
from semivox.data.dataset import find_dataset
from semivox.data.store import Store
from semivox.fsio import read_json, write_json
from semivox.imaging.plan import Plan, load_plan, plan_to_json
from semivox.imaging.resample import resample_image, resample_label
from semivox.memory import peak_memory_mb

COARSE_MM = 1.0
WORKERS = 2
COMPARED = 3
"""Cases whose arrays are compared."""
CASES_MEASURED = 6
TOLERANCE = 1e-4
"""Of a voxel, in standard deviations of the scan; SimpleITK works in float64 and in another order."""
MIN_SAME_LABELS = 0.998
"""Semivox resamples masks linearly, by class; SimpleITK's users take the nearest voxel."""
TARGET_VOLUMES = 2.0


class Arrays(NamedTuple):
    """What both sides return."""

    images: list[np.ndarray]
    """(X, Y, Z) float32, of the first cases."""
    labels: list[np.ndarray]
    """(X, Y, Z) integers."""
    volumes: float = 0.0
    """Ours alone: memory that a worker took, in volumes."""


def training_scans(setup: Setup) -> Path:
    """The dataset folder without its test cases."""
    scans = la_scans(setup)
    folder = scans.with_name(f"{scans.name}_training")
    folder.mkdir(exist_ok=True)
    for name in ("imagesTr", "labelsTr"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(scans / name)
    content = {key: value for key, value in read_json(scans / "dataset.json").items() if key != "test"}
    write_json(folder / "dataset.json", content)
    return folder


def plan_file(setup: Setup, spacing_mm: float | None) -> Path:
    """A plan that normalizes each scan by its own mean and deviation and resamples it if a spacing is given."""
    plan = load_plan(la_store(setup) / "plan.json")
    channels = tuple(dataclasses.replace(channel, scheme="zscore") for channel in plan.channels)
    spacing = None if spacing_mm is None else (spacing_mm,) * 3
    path = setup.folder / f"plan_{spacing_mm or 'own'}{'_quick' if setup.quick else ''}.json"
    write_json(path, plan_to_json(dataclasses.replace(plan, channels=channels, spacing_mm=spacing)))
    return path


def ours(setup: Setup) -> Work:
    """On the scans' own grids."""
    return _ours(setup, None)


def ours_coarse(setup: Setup) -> Work:
    """Resampled."""
    return _ours(setup, COARSE_MM)


def theirs(setup: Setup) -> Work:
    """On the scans' own grids."""
    return _theirs(setup, None)


def theirs_coarse(setup: Setup) -> Work:
    """Resampled."""
    return _theirs(setup, COARSE_MM)


def _ours(setup: Setup, spacing_mm: float | None) -> Work:
    """The command ``semivox prepare``, its start included."""
    scans, plan_path = training_scans(setup), plan_file(setup, spacing_mm)
    target = _target(setup, "ours", spacing_mm)
    volumes = worker_volumes(scans, load_plan(plan_path), target)

    def work() -> Arrays:
        shutil.rmtree(target, ignore_errors=True)
        command = [sys.executable, "-m", "semivox", "prepare", scans, target, "--plan", plan_path]
        subprocess.run([*command, "--workers", str(WORKERS)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        store = Store.open(target)
        names = sorted(case.name for case in store.cases)[:COMPARED]
        return Arrays([store.image(name)[0] for name in names], [store.label(name) for name in names], volumes)

    return work


def _theirs(setup: Setup, spacing_mm: float | None) -> Work:
    files, target = image_files(training_scans(setup)), _target(setup, "theirs", spacing_mm)

    def work() -> Arrays:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        paths = [_simpleitk_case(image, label, target / str(number), spacing_mm=spacing_mm)
                 for number, (image, label) in enumerate(files)]
        images, labels = zip(*[[np.load(path, mmap_mode="r") for path in pair] for pair in paths[:COMPARED]],
                             strict=True)
        return Arrays(list(images), list(labels))

    return work


def _target(setup: Setup, side: str, spacing_mm: float | None) -> Path:
    return setup.folder / f"prepared_{side}_{spacing_mm or 'own'}{'_quick' if setup.quick else ''}"


def _simpleitk_case(image_file: Path, label_file: Path, target: Path, *, spacing_mm: float | None) -> list[Path]:
    import SimpleITK

    image, label = SimpleITK.ReadImage(str(image_file), SimpleITK.sitkFloat32), SimpleITK.ReadImage(str(label_file))
    image, label = SimpleITK.DICOMOrient(image, "LPS"), SimpleITK.DICOMOrient(label, "LPS")
    if spacing_mm is not None:
        image = _resampled(image, spacing_mm, SimpleITK.sitkBSpline)
        label = _resampled(label, spacing_mm, SimpleITK.sitkNearestNeighbor)
    image = SimpleITK.Normalize(image)
    paths = [target.with_suffix(ending) for ending in (".image.npy", ".label.npy")]
    for path, scan in zip(paths, (image, label), strict=True):
        np.save(path, np.ascontiguousarray(SimpleITK.GetArrayViewFromImage(scan).T))
    return paths


def _resampled(scan: Any, spacing_mm: float, interpolator: int) -> Any:
    """On a grid of the same extent, voxel borders on voxel borders."""
    import SimpleITK

    old, size = scan.GetSpacing(), scan.GetSize()
    new_size = [max(1, round(count * mm / spacing_mm)) for count, mm in zip(size, old, strict=True)]
    new = [count * mm / new_count for count, mm, new_count in zip(size, old, new_size, strict=True)]
    first = [(new_mm / mm - 1) / 2 for mm, new_mm in zip(old, new, strict=True)]
    origin = scan.TransformContinuousIndexToPhysicalPoint(first)
    return SimpleITK.Resample(scan, new_size, SimpleITK.Transform(), interpolator, origin, new, scan.GetDirection(),
                              0.0, scan.GetPixelID())


def worker_volumes(scans: Path, plan: Plan, target: Path) -> float:
    """Memory of a worker in volumes: its peak minus what it had after its imports, over the largest float32 volume.

    Both are peaks of the resident set of one process that prepares the largest of the cases and some more.
    """
    sizes = {case.name: case.images[0].stat().st_size for case in find_dataset(scans).cases}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:CASES_MEASURED]
    jobs = [case for case in find_dataset(scans).cases if case.name in largest]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        before_mb = executor.submit(_warmed_up, plan.spacing_mm is not None).result()
        volume_mb = max(executor.submit(_prepared_mb, case, plan, target).result() for case in jobs)
        after_mb = executor.submit(_own_peak_mb).result()
    shutil.rmtree(target)
    return (after_mb - before_mb) / volume_mb


def _warmed_up(resampling: bool) -> float:
    """The worker's own peak after all imports: resampling brings more of them."""
    if resampling:
        scan = np.zeros((4, 4, 4), np.float32)
        resample_image(scan, (3, 3, 3))
        resample_label(scan.astype(np.uint8), (3, 3, 3), 2)
    return _own_peak_mb()


def _prepared_mb(case: Any, plan: Plan, target: Path) -> float:
    """Prepare one case as a worker does; the float32 size of its scan or of its prepared array, the larger one."""
    inspected = inspect_case(case)
    written = write_case(WriteJob(case, plan, inspected.digests, target))
    x, y, z = inspected.summary.shape
    return 4 * max(x * y * z, int(np.prod(written.stored.shape))) / 2**20


def _own_peak_mb() -> float:
    """Without what the parent had: the kernel's peak of the process counts the moment before it became this program."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_memory_mb()
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def same_arrays(ours: Arrays, theirs: Arrays) -> str:
    """Images equal within the tolerance, nearly all labels. The memory of a worker is stated, not checked."""
    difference = max(float(np.abs(a - b).max()) for a, b in zip(ours.images, theirs.images, strict=True))
    assert difference <= TOLERANCE, f"voxels differ by up to {difference:.2g} standard deviations"
    same = min(float((a == b).mean()) for a, b in zip(ours.labels, theirs.labels, strict=True))
    assert same >= MIN_SAME_LABELS, f"{same:.2%} of the labels equal"
    return (f"voxels within {difference:.1g} standard deviations (tolerance {TOLERANCE:g}), {same:.2%} of labels"
            f" equal; a worker takes {ours.volumes:.2f} volumes (target {TARGET_VOLUMES:g})")


CONTESTS = (
    Contest("prepare", "80 scans prepared", Side("Semivox", ours), Side("SimpleITK, one process", theirs), same_arrays,
            target=1.8, repeats=3, memory=False, quick=False, devices=("cpu",)),
    Contest("prepare_resampled", "80 scans prepared at 1 mm", Side("Semivox", ours_coarse),
            Side("SimpleITK, one process", theirs_coarse), same_arrays,
            target=1.8, repeats=3, memory=False, quick=False, devices=("cpu",)),
)
