"""The runs of one comparison: what was asked, where each run lies, how far it is.

``semivox compare`` writes it, jobs work it off, tables and reports read it. See docs/how-to/compare.md for the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from semivox.errors import InputError, SemivoxError, UsageError
from semivox.fsio import read_json, write_json
from semivox.strict import load_strictly

FORMAT, KIND = 1, "semivox-comparison"
MATRIX_JSON, JOB_JSON = "matrix.json", "job.json"
JOB_LOG, JOB_LOCK = "job.log", ".job-lock"
"""What the process of a run says, and the lock that it holds while it works."""
PREDICTIONS, SCORES = "predictions", "scores"
LAST, BEST_VALIDATION, STEP_PREFIX = "last", "best_validation", "step_"
"""Which weights a folder below ``predictions`` and ``scores`` belongs to; ``step_<n>`` for those kept on the way."""
REPORT_HTML, TABLES = "report.html", "tables"
ALL: Final = "all"
BOUND = "supervised"
"""Method of the lower bound (the labeled cases alone) and of the upper bound (every label)."""

DISPLAY = {"supervised": "supervised", "mean_teacher": "Mean Teacher", "caml": "CAML", "cml": "CML", "crln": "CRLN",
           "dualnet": "Dual-Net"}
COMPONENTS = {"occ": "OCC", "cma": "CMA", "cps": "CPS", "dim": "DIM", "dis": "L_dis", "unlabeled": "L_u"}
"""How papers write what ``method.drop`` names; others are shown as they are."""

State = Literal["waiting", "training", "predicting", "evaluating", "done", "failed", "stopped"]
Role = Literal["method", "lower_bound", "upper_bound"]


class RunSpec(NamedTuple):
    """One run of a comparison."""

    path: str
    """Its folder relative to that of the comparison, with ``/``."""
    method: str
    """Name in the table of methods, or ``package.module:Class``."""
    profile: str
    dropped: tuple[str, ...]
    """Components that are left out (``method.drop``)."""
    variant: str
    """Profile, then what differs: ``default-without_occ-steps_2000``."""
    labeled: int | Literal["all"]
    draw: int | None
    """Seed of a random labeled subset; None is the stored order."""
    seed: int
    steps: int
    role: Role
    wishes: dict[str, Any]
    """Nested part of a configuration, as ``semivox train --config`` takes it."""

    @property
    def label(self) -> str:
        """Name for people: ``CAML``, ``CAML (released)``, ``CAML without OCC``, ``supervised (all labels)``.

        Runs that differ in labeled cases, draw and seed alone share it, but for the upper bound.
        """
        name = DISPLAY.get(self.method, self.method.rpartition(":")[2])
        notes = [] if self.profile == "default" else [self.profile]
        notes += [part.replace("_", " ") for part in self.changes]
        notes += ["all labels"] * (self.role == "upper_bound")
        without = " and ".join(COMPONENTS.get(part, part) for part in self.dropped)
        return name + f" without {without}" * bool(without) + f" ({', '.join(notes)})" * bool(notes)

    @property
    def changes(self) -> list[str]:
        """Settings that this variant changes, as its name has them: ``["labeled_per_batch_2"]``."""
        known = ("without_", "steps_", "draw_")
        return [part for part in self.variant.split("-")[1:] if not part.startswith(known)]

    @property
    def row(self) -> tuple[str, int | str]:
        """(label, labeled): runs of the same row of a table; they differ in draw and seed alone."""
        return self.label, self.labeled


class Matrix(NamedTuple):
    """All runs of a comparison, and what they have in common."""

    semivox_version: str
    dataset: str
    store: str
    """Absolute path of the store: for jobs alone, reports never show it."""
    store_digest: str
    protocol: Literal["literature", "clinical"]
    reference: str
    """Method that the others are compared with, in its default profile."""
    validation: int
    """Validation cases of every run."""
    peek_every: int | None
    """Steps between weights that are kept to be scored on the test cases; None keeps none."""
    asked: dict[str, Any]
    """The command line: ``methods``, ``labeled``, ``seeds``, ``draws``, ``steps``, ``set``."""
    runs: tuple[RunSpec, ...]
    footnotes: tuple[dict[str, Any], ...]
    """``{"methods": labels, "text": one sentence}``: where runs could not be alike."""

    def run(self, path: str) -> RunSpec:
        """The run whose folder is ``path``.

        Raises:
            UsageError: when there is none.
        """
        for spec in self.runs:
            if spec.path == path:
                return spec
        raise UsageError("C6", path, "no run of this comparison", f"take a path from {MATRIX_JSON}")


class JobRecord(NamedTuple):
    """How far a run is: the content of ``job.json``."""

    state: State = "waiting"
    error: dict[str, Any] | None = None
    """``code``, ``subject``, ``problem``, ``fix`` and ``exit_code`` of a failed run."""
    attempts: int = 0
    seconds: dict[str, float] = {}
    """``train``, ``predict`` and ``evaluate``, over all attempts."""
    peak_memory_mb: float | None = None


def to_json(matrix: Matrix) -> dict[str, Any]:
    """The content of ``matrix.json``."""
    runs = [{**spec._asdict(), "dropped": list(spec.dropped)} for spec in matrix.runs]
    return {"format": FORMAT, "kind": KIND, **matrix._asdict(), "runs": runs, "footnotes": list(matrix.footnotes)}


def from_json(raw: Any, source: str = MATRIX_JSON) -> Matrix:
    """Read what ``to_json`` gave, strictly.

    Raises:
        InputError: J4, it is not the description of a comparison, with the key and what is legal.
    """
    content = dict(raw) if isinstance(raw, dict) else {}
    kind, version = content.pop("kind", None), content.pop("format", None)
    if (kind, version) != (KIND, FORMAT):
        raise InputError("J4", source, f"kind {kind!r} of format {version!r}, expected {KIND!r} of format {FORMAT}",
                         "name the folder of a comparison that this version wrote")
    try:
        return load_strictly(Matrix, content, source=source)
    except SemivoxError as error:
        raise InputError("J4", error.subject, error.problem, "restore the file, or start in a new folder") from None


def read_matrix(out: Path) -> Matrix:
    """The comparison in a folder.

    Raises:
        UsageError: C6, there is none.
        InputError: its description is damaged.
    """
    path = out / MATRIX_JSON
    if not path.is_file():
        raise UsageError("C6", out, f"not the folder of a comparison (no {MATRIX_JSON} in it)",
                         "name the folder that `semivox compare` wrote")
    return from_json(read_json(path), str(path))


def write_matrix(out: Path, matrix: Matrix) -> None:
    """Write the description of a comparison, atomically."""
    write_json(out / MATRIX_JSON, to_json(matrix))


def read_job(folder: Path) -> JobRecord:
    """How far the run in ``folder`` is; one that was never started is waiting.

    Raises:
        InputError: J4, its ``job.json`` is damaged.
    """
    path = folder / JOB_JSON
    if not path.is_file():
        return JobRecord()
    try:
        return load_strictly(JobRecord, read_json(path), source=str(path))
    except UsageError as error:
        raise InputError("J4", error.subject, error.problem, "remove the file and run the comparison again") from None


def job_of(folder: Path) -> JobRecord:
    """The same for those who go on whatever they find: a damaged record is that of a failed run."""
    try:
        return read_job(folder)
    except InputError as error:
        entry = {"code": error.code, "subject": error.subject, "problem": error.problem, "fix": error.fix,
                 "exit_code": error.exit_code}
        return JobRecord(state="failed", error=entry)


def write_job(folder: Path, record: JobRecord) -> None:
    """Write how far a run is, atomically."""
    write_json(folder / JOB_JSON, record._asdict())


def is_job_file(name: str) -> bool:
    """Whether a file in a run's folder belongs to the job, not to the run (a killed job leaves temporary ones)."""
    return name in (JOB_JSON, JOB_LOG, JOB_LOCK) or (name.startswith(".tmp-") and name.endswith(f"-{JOB_JSON}"))


def runs_done(out: Path, matrix: Matrix) -> list[RunSpec]:
    """The runs that are trained, predicted and scored, in the order of the matrix."""
    return [spec for spec in matrix.runs if read_job(out / spec.path).state == "done"]
