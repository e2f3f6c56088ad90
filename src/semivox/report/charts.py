"""The sections that are figures of numbers: curves, labels, cases, volumes and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from semivox.errors import SemivoxError
from semivox.evaluation.tables import TITLES
from semivox.matrix import BEST_VALIDATION, LAST, PREDICTIONS
from semivox.report import words
from semivox.report.cache import cached, fingerprint
from semivox.report.calibration import Calibration, predicted_calibration, stored_calibration
from semivox.report.case_files import find_cases
from semivox.report.collect import RunRecord
from semivox.report.figures_agreement import Volumes, agreement_of, agreement_plot, calibration_plot
from semivox.report.figures_curves import Curve, curve_plot
from semivox.report.figures_scores import Difference, Efficiency, Series, box_plot, difference_plot, efficiency_plot
from semivox.report.rows import reference_of
from semivox.report.source import DICE, Source, case_scores
from semivox.wording import count_of, printable

CALIBRATED = 8
"""Test cases that are predicted once more, where no probabilities are stored."""
Chart = dict[str, str]
"""``title``, ``svg`` and ``caption`` of a figure."""


def curves_section(source: Source) -> list[Chart]:
    """Learning curves of every run that has logged anything."""
    runs = [run for run in source.collected.runs if run.metrics]
    validation = curves_of(source, runs, lambda row: row.get("validation", {}).get("dice"))
    pseudo = curves_of(source, runs, lambda row: row.get("validation", {}).get("pseudo_label_dice"))
    supervised = curves_of(source, runs, lambda row: row.get("terms", {}).get("supervised"))
    losses = supervised if len(supervised) == len(runs) and not source.single else \
        curves_of(source, runs, lambda row: row.get("loss"))
    charts = []
    if validation:
        charts.append({"title": "Dice of the validation cases",
                       "caption": f"On the prepared grid, during training. {chosen_by_validation(source)}",
                       "svg": curve_plot(validation, name="validation", title="Dice %")})
    if pseudo:
        charts.append({"title": "Dice of the pseudo-labels", "svg": curve_plot(pseudo, name="pseudo", title="Dice %"),
                       "caption": "How good what the unlabeled scans are taught with is, on the validation cases."})
    if losses:
        term = "Supervised loss" if losses is supervised else "Loss"
        positive = all(value > 0 for curve in losses for _, value in curve.points)
        caption = "On labeled patches, the one term that all methods share." if losses is supervised else \
            "The weighted sum of all terms." if source.single else \
            "Each method has a loss of its own: shapes can be compared, heights cannot."
        charts.append({"title": term, "caption": caption,
                       "svg": curve_plot(losses, name="loss", title=term.lower(), logarithmic=positive)})
    return charts


def chosen_by_validation(source: Source) -> str:
    """What was chosen by the scores of the validation cases, from the configurations and from what was scored."""
    picking = sorted({run.spec.label for run in source.collected.runs
                      for stage in run.config.get("engine", {}).get("stages", ())
                      if stage.get("pick") == "best_validation"})
    parts = [f"{words.listed(picking)} went into the next stage with the weights that are best by it."] * bool(picking)
    if any(BEST_VALIDATION in run.scores for run in source.collected.runs):
        parts.append("The weights that are best by it are scored apart from the last ones.")
    return " ".join(parts) or "Nothing was chosen by it."


def curves_of(source: Source, runs: Sequence[RunRecord], value: Callable[[dict[str, Any]], float | None]
              ) -> list[Curve]:
    """One quantity of each run that has it."""
    labels = {run.folder: row.label for row in source.rows for run in row.runs}
    curves = []
    for run in runs:
        label = labels.get(run.folder, run.spec.label)
        points = [(int(row["step"]), float(found)) for row in run.metrics if (found := value(row)) is not None]
        if points and label in source.styles:
            curves.append(Curve(label, source.styles[label], points))
    return curves


def labels_section(source: Source) -> Chart | None:
    """The label-efficiency curve; None with a single number of labels."""
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    for row in source.finished:
        found, interval = row.spread.get(DICE), row.standing[DICE].interval if DICE in row.standing else None
        if isinstance(row.labeled, int) and found is not None and found.mean is not None:
            low, high = (found.mean, found.mean) if interval is None else (interval.low, interval.high)
            points.setdefault(row.label, []).append((row.labeled, found.mean, low, high))
    if len({point[0] for line in points.values() for point in line}) < 2:
        return None
    lines = [Efficiency(label, source.styles[label], sorted(line)) for label, line in points.items()]
    upper = next((row for row in source.finished if row.role == "upper_bound" and DICE in row.spread), None)
    mean = upper.spread[DICE].mean if upper else None
    bound = (upper.label, mean) if upper and mean is not None else None
    svg = efficiency_plot(lines, name="labels", title="Dice %", bound=bound)
    return {"title": "Dice over labeled cases", "svg": svg,
            "caption": "Mean over seeds with its 95 % interval over cases. A method with one point was run with one "
                       "number of labels."}


def cases_section(source: Source) -> list[Chart]:
    """Box plots of the first overlap and the first distance, and differences to the reference."""
    shown = source.pictured
    distance = next((measure for measure in source.table.measures if measure not in (DICE, "jaccard", "nsd")), None)
    charts = []
    for measure in filter(None, (DICE, distance)):
        series = [Series(row.label, source.styles[row.label], found) for row in shown
                  if (found := case_scores(row, measure))]
        if series:
            better = "" if measure == DICE else " Lower is better."
            charts.append({"title": f"{TITLES[measure]} of every case", "caption": "Box: quartiles. Diamond: mean. "
                           f"Point: a case, averaged over seeds.{better}",
                           "svg": box_plot(series, name=f"box-{measure}", title=TITLES[measure])})
    differences = differences_of(source)
    base = reference_of(source.contest, source.matrix)
    if differences and base is not None:
        svg = difference_plot(differences, name="paired", title="Dice, points", reference=base.label)
        charts.append({"title": f"Difference to {base.label}, case by case", "svg": svg,
                       "caption": "Bar: 95 % interval of the mean difference (paired bootstrap). Right of the line is "
                                  "better. p: Wilcoxon, Holm-corrected."})
    return charts


def case_table(source: Source) -> dict[str, Any]:
    """Dice of every case (rows, the hardest first) by every method of the contest (columns)."""
    scores = {row.label: case_scores(row, DICE) for row in source.pictured}
    cases = sorted({case for found in scores.values() for case in found})
    means = {case: mean(found[case] for found in scores.values() if case in found) for case in cases}
    return {"labels": list(scores), "rows": [{"case": printable(case), "scores": [found.get(case) for found in
                                                                                  scores.values()]}
                                             for case in sorted(cases, key=lambda case: means[case])]}


def differences_of(source: Source) -> list[Difference]:
    """Rows of the contest against the reference, in Dice."""
    base = reference_of(source.contest, source.matrix)
    theirs = {} if base is None else case_scores(base, DICE)
    found = []
    for row in source.contest:
        difference = row.standing[DICE].difference
        if difference is None:
            continue
        ours = case_scores(row, DICE)
        values = [ours[case] - theirs[case] for case in sorted(ours.keys() & theirs.keys())]
        p = difference.p_holm
        note = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        found.append(Difference(row.label, source.styles[row.label], values, difference.interval.mean,
                                difference.interval.low, difference.interval.high, note))
    return found


def agreement_section(source: Source) -> dict[str, Any]:
    """Volumes and calibration of the best method: ``charts``, and ``missing``, sentences on what cannot be shown."""
    if not source.contest:
        return {"charts": [], "missing": [], "label": ""}
    best, charts, missing = source.contest[0], [], []
    style, run = source.styles[best.label], best.runs[0]
    volumes = volumes_of(run)
    if volumes:
        found = agreement_of(volumes)
        limits = "" if found.low_ml is None or found.high_ml is None else \
            f", 95 % of the differences between {words.number(found.low_ml)} and {words.number(found.high_ml)} ml"
        bias = f"{words.number(found.bias_ml, signed=True)} ml"
        charts.append({"title": "Volume agreement", "svg": agreement_plot(volumes, name="volumes", style=style),
                       "caption": f"Bland–Altman: predicted volumes differ by {bias} on average{limits}."})
    else:
        missing.append("Volumes are not known: the files say nothing about their spacing.")
    calibration = calibration_of(source, run)
    if isinstance(calibration, str):
        missing.append(calibration)
    else:
        charts.append({"title": "Calibration", "svg": calibration_plot(calibration, name="calibration", style=style),
                       "caption": f"Expected calibration error {100 * calibration.error:.1f} % in the box around the "
                                  f"structures of {count_of(calibration.cases, 'test case')}. Below the diagonal the "
                                  "network is too sure. Bars: number of voxels, logarithmic."})
    return {"charts": charts, "missing": missing, "label": best.label, "seed": run.spec.seed}


def volumes_of(run: RunRecord) -> list[Volumes]:
    """Volumes by class, of the cases for which they are known."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in run.scores[LAST].rows:
        if row.prediction_ml is not None and row.reference_ml is not None and row.kind != "empty":
            predicted, reference = found.setdefault(row.class_name, ([], []))
            predicted.append(row.prediction_ml)
            reference.append(row.reference_ml)
    return [Volumes(name, *pair) for name, pair in found.items()]


def calibration_of(source: Source, run: RunRecord) -> Calibration | str:
    """Calibration of a run on the test cases, from stored probabilities or by predicting; or why there is none."""
    cases = find_cases(source.store)
    weights, predictions = run.folder / "weights.safetensors", run.folder / PREDICTIONS / LAST
    if not cases:
        return "Calibration needs the test scans, and the store is not where it was."
    if not weights.is_file() or not weights.stat().st_size:
        return "Calibration is not shown: the weights of the run are gone."
    channels = len(run.plan.get("channels", ()))
    key = fingerprint([weights, *(case.reference for case in cases)], channels)

    def build() -> list[Any] | None:
        found = stored_calibration(predictions, [case.reference for case in cases])
        if found is None:
            few = cases[:: -(-len(cases) // CALIBRATED)]
            found = predicted_calibration(run.folder, [(case.scans[:channels], case.reference) for case in few])
        return None if found is None else list(found)

    try:
        kept = cached(source.collected.out, "calibration", key, build)
    except (SemivoxError, FloatingPointError, OSError):
        return "Calibration is not shown: the weights of the run could not be used to predict the test cases again."
    stated, observed, counts, error, number = kept
    return Calibration(tuple(stated), tuple(observed), tuple(counts), error, number)
