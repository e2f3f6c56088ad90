"""Score a folder of predicted label maps against a folder of references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

from semivox.errors import InputError, ResourceError, UsageError, did_you_mean
from semivox.evaluation.classes import declared_beside, names_from_masks
from semivox.evaluation.overlay import save_overlay
from semivox.evaluation.pairs import check_grids, find_pairs
from semivox.evaluation.result import Evaluation
from semivox.evaluation.scoring import Job, score_all, sensible_workers
from semivox.evaluation.tables import summary, write_cases
from semivox.fsio import write_json
from semivox.metrics.conventions import PROTOCOLS, Rules
from semivox.wording import count_of, first_names

CASES, SUMMARY, OVERLAY = RESULT_FILES = ("cases.csv", "summary.json", "overlay.png")
MISSING = ("error", "worst")


class Options(NamedTuple):
    """How to evaluate, beyond the three folders."""

    protocol: str = "clinical"
    rules: Rules = Rules()
    missing: str = "error"
    images: Path | None = None
    workers: int | None = None
    overwrite: bool = False


def evaluate(  # noqa: PLR0913 (every option has its name on the command line)
    predictions: Path,
    references: Path,
    out: Path,
    *,
    protocol: Literal["clinical", "literature"] = "clinical",
    tolerance_mm: float = 2.0,
    legacy: bool = False,
    missing: Literal["error", "worst"] = "error",
    images: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Score predictions and write ``cases.csv``, ``summary.json`` and ``overlay.png`` into ``out``.

    All measures are computed in both protocols; the protocol says which are the headline.

    Args:
        predictions: folder of predicted label maps; matched by base name, regardless of file ending.
        references: folder of reference label maps; every one of them is a case.
        out: folder for the results, created when it does not exist.
        protocol: ``"clinical"`` (Dice, HD95 and ASSD in mm, NSD) or ``"literature"`` (Dice, Jaccard, HD95 and
            directed ASD in voxels).
        tolerance_mm: distance up to which a surface element agrees, for NSD; >= 0.
        legacy: score absent structures 0 in every measure, as the literature's test scripts do.
        missing: ``"error"`` refuses to start when a prediction is missing, ``"worst"`` counts it as empty.
        images: folder of the scans, shown under the contours of the picture.
        workers: processes; None starts as many as are worth their start.
        overwrite: replace the result files of an earlier evaluation in ``out``.

    Raises:
        UsageError: an option is out of range, a folder does not exist, or ``out`` holds results.
        InputError: files are missing, damaged, on different grids (P9), hold undeclared labels (P11), or have no
            known spacing although the protocol needs mm (P12).
        ResourceError: ``out`` cannot be written, or a worker process is killed.
    """
    options = Options(protocol, Rules(tolerance_mm, legacy), missing, images, workers, overwrite)
    _check_options(options, out)
    evaluation = _score(predictions, references, options)
    try:
        write_cases(out / CASES, evaluation)
        write_json(out / SUMMARY, summary(evaluation))
        save_overlay(out / OVERLAY, evaluation, images=images)
    except OSError as error:
        raise ResourceError("C7", out, f"cannot be written ({error.strerror or error})",
                            "free space, or name a folder that can be written") from None
    return evaluation


def _score(predictions: Path, references: Path, options: Options) -> Evaluation:
    pairs, extra = find_pairs(predictions, references, missing=options.missing)
    headers = check_grids(pairs)
    declared = declared_beside(references)
    known = declared.spacing_known and all(header.geometry.spacing_known for header in headers)
    if options.protocol == "clinical" and not known:
        raise InputError("P12", references, "the spacing is unknown, so there are no distances in mm",
                         "pass --protocol literature: its distances are in voxels")
    names = declared.names or names_from_masks(pair.reference for pair in pairs)
    jobs = [Job(pair, names, options.rules, declared.spacing_known) for pair in pairs]
    rows = score_all(jobs, workers=options.workers or sensible_workers(headers))
    notes = [] if known else ["The spacing is unknown: measures in mm and volumes are blank."]
    absent = [pair.case for pair in pairs if pair.prediction is None]
    if absent:
        notes.append(f"Without a prediction, counted as empty: {first_names(absent)}.")
    if extra:
        notes.append(f"{count_of(len(extra), 'prediction')} without a reference, left out: {first_names(extra)}.")
    return Evaluation(tuple(rows), names, options.protocol, options.rules, tuple(notes))


def _check_options(options: Options, out: Path) -> None:
    if options.protocol not in PROTOCOLS:
        raise UsageError("C1", "--protocol", f"'{options.protocol}' is unknown",
                         did_you_mean(options.protocol, PROTOCOLS))
    if options.missing not in MISSING:
        raise UsageError("C1", "--missing", f"'{options.missing}' is unknown", did_you_mean(options.missing, MISSING))
    tolerance_mm = options.rules.tolerance_mm
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise UsageError("C2", "--tolerance-mm", f"is {tolerance_mm}, expected a number >= 0", "pass for example 2.0")
    if options.workers is not None and options.workers < 1:
        raise UsageError("C2", "--workers", f"is {options.workers}, expected at least 1", "pass 1 or more")
    if options.images is not None and not options.images.is_dir():
        raise UsageError("D1", options.images, "is not a folder", "name the folder of the scans, or leave --images out")
    if out.exists() and not out.is_dir():
        raise UsageError("C6", out, "is a file, expected a folder", "name another folder")
    present = [name for name in RESULT_FILES if (out / name).exists()]
    if present and not options.overwrite:
        raise UsageError("P8", out, f"already holds {', '.join(present)}", "name another folder, or pass --overwrite")
