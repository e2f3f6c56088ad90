"""Time and memory of ``semivox predict`` on a scan of 512 x 512 x 600 voxels with 3 classes, from file to file.

    python benchmarks/predict_large.py [--work scratch/speed/large]

A V-Net is trained for a few steps on small generated scans (how well it segments does not matter here); then
``semivox predict`` runs in a process of its own, half overlap, windows of 112 x 112 x 80. Peak memory is that of the
whole process as the system counts it. Written to ``benchmarks/results/predict_large.csv``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
from rows import append

from semivox.engine.environment import processor_name
from semivox.fsio import write_json

RESULTS = Path(__file__).parent / "results" / "predict_large.csv"
COLUMNS = ("processor", "cores", "x", "y", "z", "classes", "seconds", "peak_gb", "said")
SHAPE, SMALL_SHAPE = (512, 512, 600), (128, 128, 96)
CASES, STEPS, SPACING_MM, LIMIT_GB = 4, 10, 0.8, 8.0
AFFINE = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1])


def main() -> int:
    """Make scans and run, predict, write the row; 1 when the limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("scratch/speed/large"), help="folder for files that are kept")
    work = parser.parse_args().work
    prepare(work)
    shutil.rmtree(work / "predicted", ignore_errors=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "semivox", "predict", str(work / "run"), str(work / "scan"),
               str(work / "predicted"), "--overlap", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return process.returncode
    seconds, peak_gb = time.monotonic() - started, usage.ru_maxrss * 1024 / 1e9
    labels = nibabel.load(work / "predicted" / "large.nii.gz")
    assert labels.shape == SHAPE, labels.shape
    print(f"{seconds:.0f} s, peak {peak_gb:.2f} GB; {said.strip()}")
    append(RESULTS, COLUMNS, [dict(zip(COLUMNS, (
        processor_name(), os.cpu_count(), *SHAPE, 3, f"{seconds:.0f}", f"{peak_gb:.2f}", said.strip()), strict=True))])
    return int(peak_gb > LIMIT_GB)


def prepare(work: Path) -> None:
    """Scans, store and run, each made if it is not there."""
    data, store, run = work / "data", work / "store", work / "run"
    large = work / "scan" / "large_0000.nii.gz"
    if not large.is_file():
        save(large, generated(SHAPE, 0)[0])
    if run.is_dir():
        return
    for folder in (data, store):
        shutil.rmtree(folder, ignore_errors=True)
    names = [f"case_{number}" for number in range(CASES)]
    for number, name in enumerate(names):
        image, label = generated(SMALL_SHAPE, number + 1)
        save(data / "imagesTr" / f"{name}_0000.nii.gz", image)
        save(data / "labelsTr" / f"{name}.nii.gz", label)
    write_json(data / "dataset.json", {
        "name": "generated", "channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1, "tumor": 2},
        "numTraining": CASES, "file_ending": ".nii.gz"})
    semivox("prepare", data, store, "--recipe", "la")
    semivox("train", store, run, "--method", "supervised", "--labeled", CASES, "--validation", 0, "--steps", STEPS)


def generated(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise around one level for each class, int16, and the classes: a ball inside a ball."""
    axes = np.ogrid[tuple(slice(-1, 1, complex(side)) for side in shape)]
    squares = sum(axis.astype(np.float32) ** 2 for axis in axes)
    label = (squares < 0.5).astype(np.uint8) + (squares < 0.1)
    image = np.random.default_rng(seed).integers(0, 60, shape, np.int16)
    image += np.array([0, 80, 160], np.int16)[label]
    return image, label


def save(path: Path, array: np.ndarray) -> None:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)


def semivox(*arguments: object) -> None:
    """Run the program."""
    subprocess.run([sys.executable, "-m", "semivox", *map(str, arguments)], check=True)


if __name__ == "__main__":
    sys.exit(main())
