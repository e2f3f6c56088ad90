"""Read what runs have left behind into one structure: scores by case, curves, configuration, and why a run has none.

Nothing is computed here and nothing needs torch. A run that cannot be read is listed with the reason; the others go on.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from semivox.errors import InputError, SemivoxError, UsageError
from semivox.fsio import read_json
from semivox.matrix import (
    BEST_VALIDATION,
    BOUND,
    LAST,
    SCORES,
    STEP_PREFIX,
    JobRecord,
    Matrix,
    Role,
    RunSpec,
    read_job,
    read_matrix,
)
from semivox.report.scores import Scores, read_scores

_START = r"(?:file:/+|~[\w.-]*[/\\]|[A-Za-z]:[/\\]|\\\\|/{1,2}(?=[^\s/]))"
_FOLDER = r"(?:[^\s/\\:;,'\"()]|[ ](?![-/~]))*[/\\]"
ABSOLUTE_PATH = re.compile(
    rf"(?P<quote>['\"]){_START}[^\n]*?(?P=quote)(?!\w)"  # quoted: blanks and all
    rf"|(?<![\w./~\\<])(?<!http:)(?<!https:){_START}(?:{_FOLDER})*[^\s/\\:;,'\")]*")  # bare: blanks only in folders
HIDDEN = "(path)"
WORDS = {"waiting": "not started", "training": "training", "predicting": "predicting", "evaluating": "being scored",
         "stopped": "stopped"}


class RunRecord(NamedTuple):
    """One run, finished or not."""

    folder: Path
    """For reading images from; reports never show it."""
    spec: RunSpec
    job: JobRecord
    reason: str | None
    """Why the run is in no table, one sentence part; None when it is finished and scored."""
    config: dict[str, Any]
    """Its config.json; empty when it never started. The same for the next four."""
    plan: dict[str, Any]
    origin: dict[str, Any]
    """Its run.json: ``name`` of the dataset, ``split``, and the store, whose path reports never show."""
    environment: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    """Rows of its metrics.jsonl."""
    scores: dict[str, Scores]
    """``last``, ``best_validation`` and ``step_<n>`` in rising order, those that there are."""

    @property
    def finished(self) -> bool:
        """Whether it is in the tables."""
        return self.reason is None

    @property
    def steps_done(self) -> int:
        """Last step that it has logged."""
        return max((int(row["step"]) for row in self.metrics), default=0)

    def stepwise(self) -> dict[int, Scores]:
        """Test scores of the weights that were kept on the way, by step."""
        return {int(kind.removeprefix(STEP_PREFIX)): scores for kind, scores in self.scores.items()
                if kind.startswith(STEP_PREFIX)}


class Collected(NamedTuple):
    """A comparison, as far as it is."""

    out: Path
    matrix: Matrix
    runs: tuple[RunRecord, ...]
    """In the order of the matrix."""

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Runs that are in the tables."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def unfinished(self) -> tuple[RunRecord, ...]:
        """Runs that failed or are not there yet; each has a ``reason``."""
        return tuple(run for run in self.runs if not run.finished)


def collect(out: Path) -> Collected:
    """Read a comparison.

    Args:
        out: folder that ``semivox compare`` wrote.

    Raises:
        UsageError: C6, it is none.
        InputError: its matrix.json is damaged.
    """
    matrix = read_matrix(out)
    return Collected(out, matrix, tuple(_record(out / spec.path, spec, matrix.protocol) for spec in matrix.runs))


def collect_run(folder: Path) -> RunRecord:
    """Read a single run directory, of a comparison or of ``semivox train``.

    Raises:
        UsageError: C6, it is none.
        InputError: one of its files is damaged.
    """
    if not (folder / "config.json").is_file():
        raise UsageError("C6", folder, "not a run directory (no config.json in it)",
                         "name the folder that `semivox train` or `semivox compare` wrote")
    spec = spec_of(read_json(folder / "config.json"))
    job = read_job(folder)
    finished = (folder / "weights.safetensors").is_file()
    if not (folder / "job.json").is_file():
        job = job._replace(state="done" if finished else "stopped")
    record = _read(folder, spec, job)
    return record._replace(reason=None if finished else _unfinished(record))


def spec_of(config: dict[str, Any]) -> RunSpec:
    """What a comparison would say of a run with this configuration.

    Raises:
        InputError: P13, it is not a configuration.
    """
    try:
        data, method = config["data"], config["method"]
        labeled: int | Literal["all"] = "all" if data["labeled"] is None else data["labeled"]
        role: Role = "method"
        if method["name"] == BOUND:
            role = "upper_bound" if labeled == "all" else "lower_bound"
        dropped = tuple(method.get("drop") or ())
        variant = "-".join((config["profile"], *(f"without_{part}" for part in dropped)))
        return RunSpec("", method["name"], config["profile"], dropped, variant, labeled, data["labeled_draw"],
                       config["seed"], config["engine"]["steps"], role, {})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("P13", "config.json", f"not the configuration of a run ({type(error).__name__} {error})",
                         "restore the file") from None


def without_paths(text: str) -> str:
    """Text with ``(path)`` for absolute paths, names of files too: they may be those of people."""
    return ABSOLUTE_PATH.sub(HIDDEN, text)


def _record(folder: Path, spec: RunSpec, protocol: str) -> RunRecord:
    """One run of a comparison; what is wrong with it becomes its reason."""
    job = JobRecord()
    try:
        job = read_job(folder)
        record = _read(folder, spec, job)
    except SemivoxError as error:
        reason = f"cannot be read: {Path(error.subject).name} {without_paths(error.problem)}"
        return RunRecord(folder, spec, job, reason, {}, {}, {}, {}, (), {})
    return record._replace(reason=_reason(record, protocol))


def _read(folder: Path, spec: RunSpec, job: JobRecord) -> RunRecord:
    config, plan, origin, environment = (_json(folder / f"{name}.json")
                                         for name in ("config", "plan", "run", "environment"))
    found = {kind: read_scores(folder / SCORES / kind) for kind in _kinds(folder / SCORES)}
    return RunRecord(folder, spec, job, None, config, plan, origin, environment,
                     _metrics(folder / "metrics.jsonl"), found)


def _reason(record: RunRecord, protocol: str) -> str | None:
    """Why a run of a comparison is in no table."""
    if record.job.state != "done":
        return _unfinished(record)
    if LAST not in record.scores:
        return f"done, but {SCORES}/{LAST} is missing"
    for kind, scores in record.scores.items():
        if scores.protocol != protocol:
            return f"{SCORES}/{kind} has protocol {scores.protocol}, the comparison {protocol}"
        if scores.legacy:
            return f"{SCORES}/{kind} was scored with --legacy, which rewards what is missed"
    return None


def _unfinished(record: RunRecord) -> str:
    job, error = record.job, record.job.error or {}
    if job.state == "failed":
        line = f"{error.get('problem', 'no reason was written')}"
        return f"failed: {without_paths(line)}" + f" (SVX-{error['code']})" * ("code" in error)
    at = f" at step {record.steps_done} of {record.spec.steps}" * bool(record.metrics and job.state != "waiting")
    return WORDS.get(job.state, job.state) + at


def _kinds(folder: Path) -> list[str]:
    """Which weights have scores: the last, the best by validation, then those kept on the way."""
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    steps = sorted(int(number) for name in names if name.startswith(STEP_PREFIX)
                   and (number := name.removeprefix(STEP_PREFIX)).isdecimal())
    return [name for name in (LAST, BEST_VALIDATION) if name in names] + [f"{STEP_PREFIX}{step}" for step in steps]


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InputError("J4", path, f"found a JSON {type(content).__name__}, an object is needed", "restore the file")
    return content


def _metrics(path: Path) -> tuple[dict[str, Any], ...]:
    """Rows of metrics.jsonl; a last line that is cut off is one that is just being written."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise InputError("P13", path, f"line {number} is not JSON: {error.msg}", "restore the file") from None
    return tuple(rows)
