"""Scans and stores for the contests, made once and kept: the real left atria, or generated ones of their size."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
from race import Setup
from scipy.ndimage import zoom

from semivox.data.prepare import prepare
from semivox.fsio import atomic_folder, write_json

TRAINING, TEST = 80, 20
QUICK_TRAINING, QUICK_TEST = 12, 2
SHAPE, QUICK_SHAPE = (199, 141, 88), (112, 96, 64)
"""Voxels of a generated scan; the first two vary by up to a tenth. SHAPE is the median of the left atria."""
SPACING_MM = 0.625
RECIPE = "la"
LEVEL_SCALE, LEVEL_SHIFT = 0.05, -0.75
"""The left atria are 8-bit scans whose header scales them to mean 0 and deviation 1; so are the generated ones."""


def la_scans(setup: Setup) -> Path:
    """A dataset folder (imagesTr, labelsTr, imagesTs, labelsTs, dataset.json, splits.json): 80 training, 20 test cases.

    The real scans if there are any, else generated ones of the same size; 12 + 2 small generated ones when quick.
    """
    folder = setup.folder / _name(setup)
    if setup.data is None or setup.quick:
        return _once(folder, lambda temporary: _generate(temporary, quick=setup.quick))
    data = setup.data.resolve()
    unpack = [sys.executable, str(data / "convert_la.py"), "unpack", str(data / "la_pack")]
    return _once(folder, lambda temporary: subprocess.run([*unpack, str(temporary)], check=True))


def la_store(setup: Setup) -> Path:
    """The store that ``semivox prepare --recipe la`` makes of ``la_scans``."""
    scans = la_scans(setup)
    store = scans.with_name(f"{scans.name}_store")
    return _once(store, lambda temporary: prepare(scans, temporary, recipe=RECIPE, workers=0))


def image_files(scans: Path, part: str = "Tr") -> list[tuple[Path, Path]]:
    """Image and label file of each training (``Tr``) or test (``Ts``) case, by name."""
    images = sorted((scans / f"images{part}").glob("*.nii.gz"))
    return [(image, scans / f"labels{part}" / image.name.replace("_0000.nii", ".nii")) for image in images]


def _name(setup: Setup) -> str:
    if setup.quick:
        return "la_quick"
    return "la_generated" if setup.data is None else "la"


def _once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, made if it is not there; of several processes one makes it and the others wait."""
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            print(f"making {folder} ...", file=sys.stderr, flush=True)
            with atomic_folder(folder) as temporary:
                make(temporary)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _generate(root: Path, *, quick: bool) -> None:
    """Write a dataset folder of generated scans."""
    names: dict[str, list[str]] = {}
    counts = (QUICK_TRAINING, QUICK_TEST) if quick else (TRAINING, TEST)
    for part, count in zip(("Tr", "Ts"), counts, strict=True):
        names[part] = []
        for number in range(count):
            names[part].append(f"{'la' if part == 'Tr' else 'test'}_{number:04d}")
            rng = np.random.default_rng([number, len(names)])
            shape = [round(side * rng.uniform(0.9, 1.1)) for side in (QUICK_SHAPE if quick else SHAPE)[:2]]
            levels, label = generated_scan((shape[0], shape[1], (QUICK_SHAPE if quick else SHAPE)[2]), rng)
            _save(root / f"images{part}" / f"{names[part][-1]}_0000.nii.gz", levels, scaled=True)
            _save(root / f"labels{part}" / f"{names[part][-1]}.nii.gz", label, scaled=False)
    write_json(root / "dataset.json", {
        "name": "LA generated", "channel_names": {"0": "LGE-MRI"}, "labels": {"background": 0, "left atrium": 1},
        "numTraining": counts[0], "file_ending": ".nii.gz"})
    write_json(root / "splits.json", {"train": names["Tr"], "test": names["Ts"],
                                      "labeled": {"4": names["Tr"][:4], "8": names["Tr"][:8]}})


def generated_scan(shape: tuple[int, int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Smooth structure with noise as 8-bit levels, and one blob of a bit less than a tenth of the volume."""
    coarse = rng.random([max(2, side // 12) for side in shape], dtype=np.float32)
    smooth = zoom(coarse, [side / small for side, small in zip(shape, coarse.shape, strict=True)], order=1)
    axes = np.ogrid[tuple(slice(-1, 1, complex(side)) for side in shape)]
    distance = sum((axis + rng.uniform(-0.2, 0.2)) ** 2 for axis in axes) / 0.25
    label = distance + 0.8 * smooth < 1.4
    levels = 12 + 20 * smooth + 15 * label + 6 * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(levels, 0, 255).astype(np.uint8), label.astype(np.uint8)


def _save(path: Path, array: np.ndarray, *, scaled: bool) -> None:
    """Write a NIfTI file on axes that run left, posterior, superior, as the left atria do."""
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1])
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    if scaled:
        image.header.set_slope_inter(LEVEL_SCALE, LEVEL_SHIFT)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
