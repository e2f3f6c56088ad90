"""How time grows: a step with the patch, a prediction with the scan, preparing and scoring with the number of cases.

    python benchmarks/growth.py [--quick] [--only step,prediction,prepare,evaluate]

Everything is generated. Each series is the median of interleaved repeats, with the least-squares exponent in log-log
and, because a start costs the same for any size, the fit of ``a + b * size``. Written to
``benchmarks/results/growth.csv`` (a repeated series replaces its rows) and drawn into ``docs/benchmarks/growth.png``.
Exits with 1 if an exponent is above 1.1.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib
import numpy as np
from contests.training import SAMPLES, step_of

from semivox.data.prepare import prepare
from semivox.demo.scans import write_dataset
from semivox.engine.environment import processor_name
from semivox.evaluation.evaluate import evaluate
from semivox.fsio import atomic_file, atomic_folder
from semivox.memory import keep_freed_memory

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

RESULTS = Path(__file__).parent / "results" / "growth.csv"
FIGURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "growth.png"
COLUMNS = ("processor", "cores", "form", "series", "size", "seconds", "exponent", "start_s", "seconds_per_unit")
LIMIT = 1.1
PATCHES = ((32, 32, 32), (48, 48, 48), (64, 64, 64), (96, 96, 64), (112, 112, 80))
SCANS, QUICK_SCANS, WINDOW = (160, 192, 256), (64, 96, 128), 32
CASES, QUICK_CASES = (10, 100, 1000), (10, 30, 100)
SHAPE, SPACING_MM = (32, 32, 24), (3.0, 3.0, 4.0)
UNITS = {"step": f"voxels of a batch of {SAMPLES} patches", "prediction": "voxels of the scan", "prepare": "cases",
         "evaluate": "cases"}
TITLES = {"step": "training step, V-Net, bf16", "prediction": f"prediction, windows of {WINDOW}³, half overlap",
          "prepare": "semivox prepare", "evaluate": "semivox evaluate"}
Work = tuple[float, Callable[[], object]]


class Growth(NamedTuple):
    """A series and its fits."""

    sizes: list[float]
    seconds: list[float]
    exponent: float
    start_s: float
    seconds_per_unit: float


def main() -> int:
    """Measure the series that are asked for, say what was found, draw all that are in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, about a minute")
    parser.add_argument("--only", help="series: " + ", ".join(SERIES))
    parser.add_argument("--work", type=Path, default=Path("scratch/growth"), help="folder for generated cases")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(SERIES)
    if unknown := set(wanted) - set(SERIES):
        parser.error(f"no series {', '.join(sorted(unknown))}; there are {', '.join(SERIES)}")
    keep_freed_memory()
    key = {"processor": processor_name(), "cores": str(os.cpu_count()), "form": "quick" if options.quick else "full"}
    steep = []
    for name in wanted:
        found = measure(SERIES[name](options.work.resolve(), options.quick))
        keep({**key, "series": name}, found)
        steep += [name] * (found.exponent > LIMIT)
        print(f"{name}: {said(found)}", flush=True)
    if not options.quick:
        draw([row for row in read_rows() if all(row[column] == value for column, value in key.items())])
    return 1 if steep else 0


def said(found: Growth) -> str:
    """The exponent, whether it is within the limit, and what it comes from."""
    verdict = "met" if found.exponent <= LIMIT else "NOT met"
    points = ", ".join(f"{size:g}: {seconds:.3g} s" for size, seconds in zip(found.sizes, found.seconds, strict=True))
    return (f"time ~ size^{found.exponent:.3f} ({verdict}: at most {LIMIT}), or {found.start_s:.3g} s + "
            f"{found.seconds_per_unit:.3g} s per unit; {points}")


def measure(works: list[Work], repeats: int = 3) -> Growth:
    """Median seconds of each size, sizes taking turns, after a warm-up of each; and the fits."""
    for _, work in works:
        work()
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for (_, work), found in zip(works, seconds, strict=True):
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
    return fitted([size for size, _ in works], [median(found) for found in seconds])


def fitted(sizes: list[float], seconds: list[float]) -> Growth:
    """Exponent by least squares of the logarithms; ``start + slope * size`` with equal weight on relative errors."""
    exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    slope, start = np.polyfit(sizes, seconds, 1, w=1 / np.asarray(seconds))
    return Growth(sizes, seconds, float(exponent), float(start), float(slope))


def steps(folder: Path, quick: bool) -> list[Work]:
    """A step of the V-Net on batches of growing patches."""
    patches = PATCHES[:3] if quick else PATCHES
    return [(float(SAMPLES * np.prod(patch)), step_of(patch, SAMPLES, "cpu")) for patch in patches]


def predictions(folder: Path, quick: bool) -> list[Work]:
    """A cubic scan. n windows' lengths along an axis take 2 n - 1 windows: this alone is an exponent of 1.09 here."""
    import torch

    from semivox.components.probabilities import Probabilities
    from semivox.inference.sliding import Execution, predict_labels
    from semivox.inference.windows import Window
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = Probabilities(VNet(1, 2)).eval().to(memory_format=torch.channels_last_3d)
    window = Window((WINDOW,) * 3, (WINDOW // 2,) * 3, "gaussian")
    execution = Execution(batch_size=8, precision="auto", device="cpu")

    def work(side: int) -> Callable[[], object]:
        image = np.random.default_rng(side).standard_normal((1, side, side, side), np.float32)
        return lambda: predict_labels(network, image, window, execution=execution)

    return [(float(side**3), work(side)) for side in (QUICK_SCANS if quick else SCANS)]


def preparations(folder: Path, quick: bool) -> list[Work]:
    """``prepare`` of generated cases into a new store, with a process for each core."""
    def work(cases: int) -> Callable[[], object]:
        dataset = generated(folder, cases)
        return lambda: prepare(dataset, absent(folder / f"store_{cases}"), workers=os.cpu_count() or 1)

    return [(float(cases), work(cases)) for cases in (QUICK_CASES if quick else CASES)]


def evaluations(folder: Path, quick: bool) -> list[Work]:
    """``evaluate`` with all its files; predictions are the references moved by a voxel."""
    def work(cases: int) -> Callable[[], object]:
        dataset = generated(folder, cases)
        predicted = moved(dataset)
        return lambda: evaluate(predicted, dataset / "labelsTr", folder / f"scores_{cases}", overwrite=True)

    return [(float(cases), work(cases)) for cases in (QUICK_CASES if quick else CASES)]


def generated(folder: Path, cases: int) -> Path:
    """A dataset of small scans, made once."""
    dataset = folder / f"cases_{cases}"
    if not dataset.is_dir():
        with atomic_folder(dataset) as temporary:
            write_dataset(temporary, train=cases, labeled=cases, test=0, shape=SHAPE, spacing_mm=SPACING_MM)
    return dataset


def moved(dataset: Path) -> Path:
    """The folder of predictions beside a dataset's labels, made once."""
    import nibabel

    folder = dataset.with_name(f"{dataset.name}_moved")
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            for path in (dataset / "labelsTr").iterdir():
                label = nibabel.load(path)
                shifted = np.roll(np.asarray(label.dataobj), 1, axis=0)
                nibabel.save(nibabel.Nifti1Image(shifted, label.affine, label.header), temporary / path.name)
    return folder


def absent(folder: Path) -> Path:
    """The folder, which is not there any more; deleting what an earlier repeat made costs little."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


SERIES = {"step": steps, "prediction": predictions, "prepare": preparations, "evaluate": evaluations}


def read_rows() -> list[dict[str, str]]:
    """The rows of all machines."""
    if not RESULTS.is_file():
        return []
    with open(RESULTS, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def keep(key: dict[str, str], found: Growth) -> None:
    """Replace the rows of a series."""
    rows = [row for row in read_rows() if any(row[column] != value for column, value in key.items())]
    fits = {name: f"{getattr(found, name):.4g}" for name in ("exponent", "start_s", "seconds_per_unit")}
    rows += [{**key, "size": f"{size:.0f}", "seconds": f"{seconds:.4g}", **fits}
             for size, seconds in zip(found.sizes, found.seconds, strict=True)]
    with atomic_file(RESULTS) as path, open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def draw(rows: list[dict[str, str]]) -> None:
    """A panel for each series, with the line of proportional growth."""
    series = {name: list(group) for name, group in groupby(rows, key=lambda row: row["series"])}
    shown = [name for name in SERIES if name in series]
    figure, panels = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.8), constrained_layout=True, squeeze=False)
    for axes, name in zip(panels[0], shown, strict=True):
        draw_series(axes, name, series[name])
    with atomic_file(FIGURE) as path:
        figure.savefig(path, dpi=130, format="png")
    plt.close(figure)


def draw_series(axes: Axes, name: str, rows: list[dict[str, str]]) -> None:
    """Measured points, the fit of start and slope, and a dashed line of exact proportion through the last point."""
    sizes, seconds = (np.array([float(row[column]) for row in rows]) for column in ("size", "seconds"))
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    start, slope, exponent = (float(rows[0][column]) for column in ("start_s", "seconds_per_unit", "exponent"))
    line = start + slope * fine
    axes.loglog(fine[line > 0], line[line > 0], color="#0072B2", label="start + slope × size")
    axes.loglog(fine, seconds[-1] * fine / sizes[-1], color="#555555", linestyle="--", label="proportional")
    axes.loglog(sizes, seconds, "o", color="#D55E00", label="measured (median)")
    axes.set(title=f"{TITLES[name]}\nexponent {exponent:.2f}", xlabel=UNITS[name], ylabel="seconds")
    axes.xaxis.set_minor_formatter(NullFormatter())  # labels between the powers of ten would overlap
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")


if __name__ == "__main__":
    sys.exit(main())
