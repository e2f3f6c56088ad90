"""Left atrium at half resolution, 8 labeled of 80: train, predict, evaluate; one committed row a run.

    python benchmarks/la_half.py DATA [--steps 2000|600] [--work scratch/la_half] [--only NAME]

DATA is the folder of the scans. Each run is resumed if it was stopped and skipped if its row is there. Protocol:
patch 64x64x32, bf16, 2000 steps (600 for the short form), last checkpoint, 20 test cases, literature metrics (voxels).
The labels of the 10 last training cases draw the validation curve and nothing else. Afterwards:
benchmarks/la_half_figure.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from rows import COLUMNS, MEASURES, append, read_metrics, read_rows, row_of

from semivox.cli import run as semivox
from semivox.evaluation.statistics import paired_interval
from semivox.fsio import read_json

RESULTS = Path(__file__).parent / "results"
LABELED, VALIDATION = 8, 10


class Run(NamedTuple):
    """One row of a matrix."""

    method: str
    seed: int = 0
    settings: tuple[str, ...] = ()
    variant: str = ""
    precision: str = "bf16"

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return f"{self.method}{self.variant}-labeled_{LABELED}-seed_{self.seed}"


MATRICES = {
    2000: (
        Run("supervised", 0),
        Run("mean_teacher", 0),
        Run("mean_teacher", 1),
        Run("supervised", 0, ("data.labeled_per_batch=2",), "-batch_2"),
    ),
    600: (
        Run("supervised"),
        Run("supervised", 0, ("data.labeled_per_batch=2",), "-batch_2"),
        Run("mean_teacher"),
        Run("caml"),
        Run("cml", 0, ("method.pretrain_share=0.2",)),
        Run("crln"),
        Run("dualnet"),
        Run("dualnet", 0, ("profile=released",), "-released"),
    ),
}
"""Length of the runs to what is run."""


class Files(NamedTuple):
    """What is written about the runs of one length."""

    rows: Path
    cases: Path
    curves: Path
    comparison: Path


def files_of(steps: int) -> Files:
    """The result files of the runs of one length."""
    name = "la_half" if steps == 2000 else f"la_half_{steps}"
    return Files(*(RESULTS / f"{name}{end}" for end in (".csv", "_cases.csv", "_curves.json", "_comparison.json")))


def main() -> None:
    """Run what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, choices=MATRICES, default=2000)
    parser.add_argument("--work", type=Path, default=Path("scratch/la_half"))
    parser.add_argument("--only", help="name of one run")
    options = parser.parse_args()
    files, store = files_of(options.steps), options.work / "store"
    command("prepare", options.data, store, "--recipe", "la_half")
    for run in MATRICES[options.steps]:
        if options.only in (None, run.name) and run.name not in {row["run"] for row in read_rows(files.rows)}:
            finish(run, options.steps, store, work=options.work / files.rows.stem, files=files)
    compare(files)


def finish(run: Run, steps: int, store: Path, *, work: Path, files: Files) -> None:
    """Train or resume a run, score its last checkpoint on the test cases, append its row."""
    folder, predictions, scores = (work / part / run.name for part in ("runs", "predictions", "scores"))
    if (folder / "config.json").is_file():
        command("resume", folder)
    else:
        command("train", store, folder, "--method", run.method, "--labeled", LABELED, "--validation", VALIDATION,
                "--steps", steps, "--seed", run.seed, "--precision", run.precision,
                "--set", f"engine.validate_every={200 if steps == 600 else 250}",
                *(word for setting in run.settings for word in ("--set", setting)))
    command("predict", folder, store / "imagesTs", predictions, "--overwrite")
    command("evaluate", predictions, store / "labelsTs", "--out", scores, "--protocol", "literature", "--overwrite")
    record(run, files, folder, scores=scores)


def record(run: Run, files: Files, folder: Path, *, scores: Path) -> None:
    """Append the run's row, its case scores and its curves."""
    append(files.rows, COLUMNS, [row_of(run.name, folder, scores)])
    append(files.cases, ("run", "case", *MEASURES),
           [{"run": run.name, **{key: case[key] for key in ("case", *MEASURES)}}
            for case in read_rows(scores / "cases.csv")])
    logged = read_metrics(folder)
    curves = read_json(files.curves) if files.curves.is_file() else {}
    curves[run.name] = {
        "loss": [[row["step"], round(row["loss"], 4)] for row in logged if "loss" in row and row["step"] % 50 == 0],
        "validation_dice": [[row["step"], row["validation"]["dice"]] for row in logged if "validation" in row],
        "pseudo_label_dice": [[row["step"], row["validation"]["pseudo_label_dice"]] for row in logged
                              if "pseudo_label_dice" in row.get("validation", {})],
    }
    files.curves.write_text(json.dumps(curves) + "\n", encoding="utf-8")


def compare(files: Files) -> None:
    """Paired difference of every method and supervised, seeds averaged case by case: printed and written."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in read_rows(files.cases):
        name = row["run"].partition("-labeled")[0]
        scores.setdefault(name, {}).setdefault(row["case"], []).append(float(row["dice"]))
    means = {name: {case: sum(values) / len(values) for case, values in cases.items()}
             for name, cases in scores.items()}
    seeds = {name: len(next(iter(cases.values()))) for name, cases in scores.items()}
    content = []
    for name in means:
        if "supervised" in means and name != "supervised":
            found = paired_interval(means[name], means["supervised"])
            print(f"{name} - supervised: {found.mean:+.2f} Dice points, 95 % interval over {found.n} cases "
                  f"[{found.low:+.2f}, {found.high:+.2f}]")
            content.append({"what": f"{name} - supervised, Dice points, seeds averaged by case",
                            "seeds": [seeds[name], seeds["supervised"]], **found._asdict()})
    files.comparison.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def command(*words: object) -> None:
    """Run one semivox command line, and stop if it fails."""
    code = semivox([str(word) for word in words])
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
