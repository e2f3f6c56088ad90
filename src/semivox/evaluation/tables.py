"""The same scores for three readers: ``cases.csv``, ``summary.json``, and a table on the screen."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from semivox.evaluation.result import CaseRow, Evaluation, Statistic, statistic
from semivox.fsio import write_text
from semivox.metrics.conventions import DEFINITIONS, MEASURES, PROTOCOLS
from semivox.wording import count_of, printable

COLUMNS = (
    "case", "class", *MEASURES, "missed", "kind", "prediction_voxels", "reference_voxels",
    "prediction_ml", "reference_ml", "class_name",
)
NNUNET_COUNTS = ("TP", "FP", "FN", "TN", "n_pred", "n_ref")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
WORST_SHOWN = 5
Cell = str | int | float | None
TITLES = {
    "dice": "Dice %", "jaccard": "Jaccard %", "nsd": "NSD %",
    "hd95_voxel": "HD95 voxel", "asd_voxel": "ASD voxel", "assd_voxel": "ASSD voxel",
    "hd95_mm": "HD95 mm", "asd_mm": "ASD mm", "assd_mm": "ASSD mm",
}


def write_cases(path: Path, evaluation: Evaluation) -> None:
    """Write one CSV row per case and class: overlaps in percent, full precision, blank where not defined."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in evaluation.rows:
        writer.writerow([_cell(value) for value in _case_values(row)])
    write_text(path, stream.getvalue())


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Content of ``summary.json``: all of nnU-Net's keys, with ours beside them; overlaps are fractions here.

    ``mean`` and ``foreground_mean`` leave undefined values out, as nnU-Net does; undefined is null.
    """
    cases: dict[str, dict[str, Any]] = {}
    for row in evaluation.rows:
        entry = cases.setdefault(row.case, {
            "case": row.case, "reference_file": str(row.pair.reference),
            "prediction_file": None if row.pair.prediction is None else str(row.pair.prediction), "metrics": {},
        })
        entry["metrics"][str(row.label)] = {
            **_fractions(row), "missed": row.metrics.missed, "kind": row.metrics.kind, "class_name": row.class_name,
        }
    spread = {label: _over_cases(evaluation, label) for label in evaluation.names}
    means = {str(label): {key: found.mean for key, found in values.items()} for label, values in spread.items()}
    keys = next(iter(means.values()), {})
    rule = DEFINITIONS["absent_legacy" if evaluation.rules.legacy else "absent"]
    return {
        "foreground_mean": {key: statistic(mean[key] for mean in means.values()).mean for key in keys},
        "mean": means,
        "metric_per_case": list(cases.values()),
        "protocol": evaluation.protocol,
        "headline": list(PROTOCOLS[evaluation.protocol]),
        "tolerance_mm": evaluation.rules.tolerance_mm,
        "legacy": evaluation.rules.legacy,
        "definitions": {**{key: text for key, text in DEFINITIONS.items() if not key.startswith("absent")},
                        "absent": rule},
        "n": len(evaluation.cases),
        "n_missed": evaluation.counts().missed,
        "n_spurious": evaluation.counts().spurious,
        "n_empty": evaluation.counts().empty,
        "classes": {str(label): _class_summary(evaluation, label, values) for label, values in spread.items()},
        "notes": list(evaluation.notes),
    }


def screen_table(evaluation: Evaluation) -> RenderableType:
    """What is printed: headline measures (mean ± std over cases) by class, counts, notes and the worst cases."""
    measures = PROTOCOLS[evaluation.protocol]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in (*(TITLES[measure] for measure in measures), "n", "missed"):
        table.add_column(name, justify="right", no_wrap=True)
    for label in evaluation.names:
        table.add_row(*_table_row(evaluation, label))
    if len(evaluation.names) > 1:
        table.add_row(*_table_row(evaluation, None), style="bold")
    lines = (*_explanations(evaluation), *map(printable, evaluation.notes), _worst(evaluation))
    return Group(Text(_title(evaluation), style="bold"), table, *map(Text, lines))


def shown(found: Statistic) -> str:
    """``"81.25 ± 3.10"``; a dash where nothing is defined."""
    if found.mean is None:
        return "–"
    return f"{found.mean:.2f}" if found.std is None else f"{found.mean:.2f} ± {found.std:.2f}"


def guarded(text: str) -> str:
    """Text that a spreadsheet cannot take for a formula."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def _case_values(row: CaseRow) -> list[Cell]:
    metrics, overlap, unit = row.metrics, row.metrics.overlap, row.voxel_ml
    sizes = overlap.prediction_voxels, overlap.reference_voxels
    volumes = [None if unit is None else voxels * unit for voxels in sizes]
    return [row.case, row.label, *(row.value(name) for name in MEASURES), metrics.missed, metrics.kind,
            *sizes, *volumes, row.class_name]


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    return guarded(printable(value)) if isinstance(value, str) else repr(value)


def _fractions(row: CaseRow) -> dict[str, float | None]:
    """nnU-Net's keys and ours for one row."""
    overlap = row.metrics.overlap
    counts = (overlap.tp, overlap.fp, overlap.fn, overlap.tn, overlap.prediction_voxels, overlap.reference_voxels)
    ours = {name: getattr(row.metrics, name) for name in MEASURES}
    return {"Dice": ours["dice"], "IoU": ours["jaccard"], **dict(zip(NNUNET_COUNTS, counts, strict=True)), **ours}


def _over_cases(evaluation: Evaluation, label: int) -> dict[str, Statistic]:
    values = [_fractions(row) for row in evaluation.rows if row.label == label]
    return {key: statistic(case[key] for case in values) for key in values[0]}


def _class_summary(evaluation: Evaluation, label: int, values: dict[str, Statistic]) -> dict[str, Any]:
    counts = evaluation.counts(label)
    return {
        "name": evaluation.names[label], "n": counts.scored, "n_missed": counts.missed,
        "n_spurious": counts.spurious, "n_empty": counts.empty,
        "mean": {name: values[name].mean for name in MEASURES},
        "std": {name: values[name].std for name in MEASURES},
    }


def _title(evaluation: Evaluation) -> str:
    legacy = ", legacy zero rule" if evaluation.rules.legacy else ""
    return f"Protocol {evaluation.protocol}{legacy}: mean ± standard deviation over cases"


def _table_row(evaluation: Evaluation, label: int | None) -> list[str]:
    name = "mean" if label is None else printable(evaluation.names[label])
    counts = evaluation.counts(label)
    found = [evaluation.statistic(measure, label) for measure in PROTOCOLS[evaluation.protocol]]
    return [escape(name), *map(shown, found), str(counts.scored), str(counts.missed + counts.spurious)]


def _explanations(evaluation: Evaluation) -> list[str]:
    counts, legacy = evaluation.counts(), evaluation.rules.legacy
    lines = [
        f"HD95 and ASSD pool both directions; NSD: share of both surfaces within {evaluation.rules.tolerance_mm:g} mm."
        if evaluation.protocol == "clinical"
        else "HD95 pools both directions, ASD goes from prediction to reference (MedPy), in voxels."
    ]
    if evaluation.missed:
        distance = "distance 0 (legacy), which rewards them" if legacy else "the image diagonal as distance"
        lines.append(f"Missed: {counts.missed} not found, {counts.spurious} found where there is none; each counts "
                     f"with overlap 0 and {distance}.")
    if counts.empty:
        rule = "all measures 0 (legacy)" if legacy else "in no mean"
        lines.append(f"In neither mask: {counts.empty}, {rule}.")
    return lines


def _worst(evaluation: Evaluation) -> str:
    ranked = sorted(evaluation.case_mean("dice").items(), key=lambda item: (item[1], item[0]))
    worst = ", ".join(f"{printable(case)} {dice:.2f}" for case, dice in ranked[:WORST_SHOWN])
    return f"Lowest Dice % of {count_of(len(evaluation.cases), 'case')}: {worst or 'none is defined'}"
