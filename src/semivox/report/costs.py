"""What training took, what it ran on, how to repeat it, and what failed."""

from __future__ import annotations

from shlex import quote
from statistics import mean, median
from typing import Any

from semivox.fsio import sha256_json
from semivox.matrix import Matrix
from semivox.progress import format_duration
from semivox.report.collect import RunRecord, without_paths
from semivox.report.rows import Row
from semivox.report.source import Source
from semivox.wording import printable

HASH = 12
"""Digits of a configuration's hash that are shown: enough to tell runs apart."""


def cost_rows(source: Source) -> list[dict[str, Any]]:
    """For each row of the tables: seconds a step, training time and peak memory, means over its runs."""
    found = [(row, _cost(row)) for row in source.finished]
    slowest = max((cost["step_s"] for _, cost in found if cost["step_s"]), default=None)
    return [{
        "label": row.label, "labeled": str(row.labeled), **cost,
        "step": "–" if cost["step_s"] is None else f"{cost['step_s']:.2f}",
        "train": "–" if cost["train_s"] is None else format_duration(cost["train_s"]),
        "memory": "–" if cost["peak_mb"] is None else f"{cost['peak_mb'] / 1000:.1f}",
        "share": 0 if slowest is None or cost["step_s"] is None else round(100 * cost["step_s"] / slowest),
    } for row, cost in found]


def environments(source: Source) -> list[dict[str, Any]]:
    """The different machines and versions, each with the number of runs on it."""
    groups: dict[str, tuple[dict[str, Any], int]] = {}
    for run in source.collected.runs:
        if run.environment:
            key = sha256_json(run.environment)
            groups[key] = (run.environment, groups.get(key, ({}, 0))[1] + 1)
    return [{"runs": count, "facts": _environment(found)} for found, count in groups.values()]


def run_rows(source: Source) -> list[dict[str, Any]]:
    """Every run with the hash of its configuration and the command that repeats it."""
    return [{"label": run.spec.label, "labeled": str(run.spec.labeled), "seed": run.spec.seed,
             "draw": "–" if run.spec.draw is None else str(run.spec.draw), "steps": run.spec.steps,
             "state": run.job.state if run.reason is None or run.job.state != "done" else run.reason,
             "hash": sha256_json(run.config)[:HASH] if run.config else "–", "path": printable(run.spec.path)}
            for run in source.collected.runs]


def commands(source: Source) -> list[str]:
    """Command lines that make the same again; STORE, OUT and RUN stand for folders."""
    if source.single:
        return ["semivox train STORE NEW_RUN --config RUN/config.json",
                "semivox predict NEW_RUN STORE/imagesTs PREDICTIONS",
                "semivox evaluate PREDICTIONS STORE/labelsTs --out SCORES --protocol "
                f"{source.matrix.protocol}", "semivox report RUN"]
    asked = source.matrix.asked
    words = ["semivox compare STORE OUT"]
    for name in ("methods", "labeled", "seeds"):
        value = asked.get(name)
        if value:
            listing = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"--{name} {quote(listing)}")
    if isinstance(asked.get("draws"), int) and asked["draws"] > 1:
        words.append(f"--draws {asked['draws']}")
    if asked.get("steps"):
        words.append(f"--steps {asked['steps']}")
    lines = [without_paths(printable(" ".join([*words, *_ground(source.matrix)])))]
    example = source.any_run
    if example is not None:
        lines.append(f"semivox train STORE NEW_RUN --config OUT/{printable(example.spec.path)}/config.json")
    return [*lines, "semivox report OUT"]


def failures(source: Source) -> list[dict[str, str]]:
    """Runs that are not in the tables, with what is known about it."""
    found = []
    for run in source.collected.unfinished:
        error = run.job.error or {}
        fix = without_paths(str(error.get("fix", "")))
        found.append({"label": run.spec.label, "labeled": str(run.spec.labeled), "seed": str(run.spec.seed),
                      "failed": str(run.job.state == "failed"), "reason": printable(run.reason or ""),
                      "fix": printable(fix)})
    return sorted(found, key=lambda entry: entry["failed"] != "True")


def _ground(matrix: Matrix) -> list[str]:
    """The options of a comparison that hold for all its runs, as a shell takes them."""
    words = [f"--validation {matrix.validation}", f"--protocol {matrix.protocol}",
             f"--reference {quote(matrix.reference)}"]
    words += [f"--show-test-peeking {matrix.peek_every}"] * bool(matrix.peek_every)
    return words + [f"--set {quote(setting)}" for setting in matrix.asked.get("set") or []]


def _cost(row: Row) -> dict[str, float | None]:
    steps = [seconds for run in row.runs if (seconds := _step_seconds(run)) is not None]
    trains = [seconds for run in row.runs if (seconds := _train_seconds(run)) is not None]
    peaks = [peak for run in row.runs if (peak := _peak_mb(run)) is not None]
    return {"step_s": mean(steps) if steps else None, "train_s": mean(trains) if trains else None,
            "peak_mb": max(peaks) if peaks else None}


def _step_seconds(run: RunRecord) -> float | None:
    found = [row["seconds_per_step"] for row in run.metrics if row.get("seconds_per_step") is not None]
    return median(found) if found else None


def _train_seconds(run: RunRecord) -> float | None:
    step = _step_seconds(run)
    return run.job.seconds.get("train") or (None if step is None else step * run.spec.steps)


def _peak_mb(run: RunRecord) -> float | None:
    logged = [row["peak_memory_mb"] for row in run.metrics if row.get("peak_memory_mb") is not None]
    return run.job.peak_memory_mb or max(logged, default=None)


def _environment(found: dict[str, Any]) -> list[tuple[str, str]]:
    packages = [f"{name} {version}" for name, version in (found.get("packages") or {}).items() if version]
    devices = ", ".join(found.get("devices") or []) or "none"
    facts = [("semivox", found.get("semivox")), ("Python", found.get("python")), ("system", found.get("platform")),
             ("processor", found.get("processor")), ("cores", found.get("cpu_count")),
             ("threads", found.get("threads")), ("GPUs", devices), ("precision", found.get("precision")),
             ("processes", found.get("world_size", 1)), ("packages", ", ".join(packages))]
    return [(name, printable(str(value))) for name, value in facts if value is not None]
