"""Left atrium at half resolution, 8 labeled of 80: train, predict, evaluate; one committed row a run.

    python benchmarks/la_half.py DATA [--work scratch/la_half] [--only NAME]

DATA is the folder of the scans. Each run is resumed if it was stopped and skipped if its row is there. Protocol:
patch 64x64x32, bf16, 2000 steps, last checkpoint, 20 test cases, literature metrics (voxels). The labels of the 10
last training cases draw the validation curve and nothing else. Afterwards: benchmarks/la_half_figure.py.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

from semivox.cli import run as semivox
from semivox.evaluation.statistics import paired_interval
from semivox.fsio import read_json, sha256_json

RESULTS = Path(__file__).parent / "results"
ROWS, CASES = RESULTS / "la_half.csv", RESULTS / "la_half_cases.csv"
CURVES = RESULTS / "la_half_curves.json"
COMPARISON = RESULTS / "la_half_comparison.json"
LABELED, VALIDATION, STEPS = 8, 10, 2000
COLUMNS = (
    "run", "method", "profile", "dropped", "labeled", "labeled_per_batch", "unlabeled_per_batch", "seed", "steps",
    "dice", "dice_std", "jaccard", "hd95_voxel", "asd_voxel", "missed", "seconds_per_step", "data_wait_share",
    "peak_memory_mb", "config_hash",
)
MEASURES = ("dice", "jaccard", "hd95_voxel", "asd_voxel")


class Run(NamedTuple):
    """One row of the matrix."""

    method: str
    seed: int
    settings: tuple[str, ...] = ()
    variant: str = ""

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return f"{self.method}{self.variant}-labeled_{LABELED}-seed_{self.seed}"


MATRIX = (
    Run("supervised", 0),
    Run("mean_teacher", 0),
    Run("mean_teacher", 1),
    Run("supervised", 0, ("data.labeled_per_batch=2",), "-batch_2"),
)


def main() -> None:
    """Run what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("scratch/la_half"))
    parser.add_argument("--only", help="name of one run")
    options = parser.parse_args()
    store = options.work / "store"
    command("prepare", options.data, store, "--recipe", "la_half")
    for run in MATRIX:
        if options.only in (None, run.name) and run.name not in {row["run"] for row in read_rows(ROWS)}:
            finish(run, store, options.work)
    compare()


def finish(run: Run, store: Path, work: Path) -> None:
    """Train or resume a run, score its last checkpoint on the test cases, append its row."""
    folder, predictions, scores = (work / part / run.name for part in ("runs", "predictions", "scores"))
    if (folder / "config.json").is_file():
        command("resume", folder)
    else:
        command("train", store, folder, "--method", run.method, "--labeled", LABELED, "--validation", VALIDATION,
                "--steps", STEPS, "--seed", run.seed, "--precision", "bf16",
                *(word for setting in run.settings for word in ("--set", setting)))
    command("predict", folder, store / "imagesTs", predictions, "--overwrite")
    command("evaluate", predictions, store / "labelsTs", "--out", scores, "--protocol", "literature", "--overwrite")
    record(run, folder, scores)


def record(run: Run, folder: Path, scores: Path) -> None:
    """Append the run's row, its case scores and its curves."""
    config, summary = read_json(folder / "config.json"), read_json(scores / "summary.json")
    with open(scores / "cases.csv", newline="", encoding="utf-8") as stream:
        cases = list(csv.DictReader(stream))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    found = summary["classes"]["1"]
    row = {
        "run": run.name, "method": run.method, "profile": config["profile"], "dropped": "",
        "labeled": config["data"]["labeled"], "labeled_per_batch": config["data"]["labeled_per_batch"],
        "unlabeled_per_batch": config["data"]["unlabeled_per_batch"], "seed": config["seed"],
        "steps": config["engine"]["steps"],
        "dice": 100 * found["mean"]["dice"], "dice_std": 100 * found["std"]["dice"],
        "jaccard": 100 * found["mean"]["jaccard"], "hd95_voxel": found["mean"]["hd95_voxel"],
        "asd_voxel": found["mean"]["asd_voxel"], "missed": summary["n_missed"],
        "seconds_per_step": median(row["seconds_per_step"] for row in steps),
        "data_wait_share": median(row["data_wait_share"] for row in steps),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in steps), "config_hash": sha256_json(config)[:16],
    }
    append(ROWS, COLUMNS, [row])
    append(CASES, ("run", "case", *MEASURES),
           [{"run": run.name, "case": case["case"], **{name: case[name] for name in MEASURES}} for case in cases])
    curves = read_json(CURVES) if CURVES.is_file() else {}
    curves[run.name] = {
        "loss": [[row["step"], round(row["loss"], 4)] for row in steps if row["step"] % 50 == 0],
        "validation_dice": [[row["step"], row["validation"]["dice"]] for row in rows if "validation" in row],
    }
    CURVES.write_text(json.dumps(curves) + "\n", encoding="utf-8")


def compare() -> None:
    """Paired difference of mean teacher and supervised, seeds averaged case by case: printed and written."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in read_rows(CASES):
        if "batch_2" not in row["run"]:
            method = row["run"].partition("-")[0]
            scores.setdefault(method, {}).setdefault(row["case"], []).append(float(row["dice"]))
    if not {"mean_teacher", "supervised"} <= scores.keys():
        return
    means = {method: {case: sum(values) / len(values) for case, values in cases.items()}
             for method, cases in scores.items()}
    seeds = {method: len(next(iter(cases.values()))) for method, cases in scores.items()}
    found = paired_interval(means["mean_teacher"], means["supervised"])
    print(f"mean_teacher - supervised: {found.mean:+.2f} Dice points, 95 % interval over {found.n} cases "
          f"[{found.low:+.2f}, {found.high:+.2f}], seeds: {seeds}")
    content = {"what": "mean_teacher - supervised, Dice points, seeds averaged by case", "seeds": seeds,
               **found._asdict()}
    COMPARISON.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def command(*words: object) -> None:
    """Run one semivox command line, and stop if it fails."""
    code = semivox([str(word) for word in words])
    if code:
        raise SystemExit(code)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none when it is not there."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def append(path: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    """Append rows to a CSV file, with a header when it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
