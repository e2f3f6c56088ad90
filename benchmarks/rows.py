"""What the benchmarks on real scans share: the row of a finished run, and CSV files that rows are added to."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median
from typing import Any

from semivox.fsio import read_json, sha256_json

COLUMNS = (
    "run", "method", "profile", "dropped", "labeled", "labeled_per_batch", "unlabeled_per_batch", "seed", "steps",
    "dice", "dice_std", "jaccard", "hd95_voxel", "asd_voxel", "missed", "seconds_per_step", "data_wait_share",
    "peak_memory_mb", "config_hash",
)
MEASURES = ("dice", "jaccard", "hd95_voxel", "asd_voxel")


def row_of(name: str, folder: Path, scores: Path) -> dict[str, Any]:
    """The ``COLUMNS`` of a finished run.

    Args:
        name: of the run.
        folder: run directory.
        scores: what ``semivox evaluate --protocol literature`` wrote about its predictions of the test cases.
    """
    config, summary = read_json(folder / "config.json"), read_json(scores / "summary.json")
    steps = [row for row in read_metrics(folder) if "loss" in row]
    found = summary["classes"]["1"]
    return {
        "run": name, "method": config["method"]["name"], "profile": config["profile"],
        "dropped": " ".join(config["method"].get("drop", ())),
        **{key: config["data"][key] for key in ("labeled", "labeled_per_batch", "unlabeled_per_batch")},
        "seed": config["seed"], "steps": config["engine"]["steps"],
        "dice": 100 * found["mean"]["dice"], "dice_std": 100 * found["std"]["dice"],
        "jaccard": 100 * found["mean"]["jaccard"], "hd95_voxel": found["mean"]["hd95_voxel"],
        "asd_voxel": found["mean"]["asd_voxel"], "missed": summary["n_missed"],
        "seconds_per_step": median(row["seconds_per_step"] for row in steps),
        "data_wait_share": median(row["data_wait_share"] for row in steps),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in steps), "config_hash": sha256_json(config)[:16],
    }


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Everything that a run has logged."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none when it is not there."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def append(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Append rows to a CSV file, with a header when it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)
