"""The picture of an evaluation: worst, median and best case in three planes, contours of both masks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from semivox.evaluation.pairs import Pair, grid_fault, label_maps
from semivox.evaluation.panels import View, draw_sheet
from semivox.evaluation.result import Evaluation
from semivox.evaluation.scoring import read_pair
from semivox.fsio import atomic_file
from semivox.imaging.files import read_header, read_image
from semivox.imaging.geometry import to_lps
from semivox.metrics.conventions import PROTOCOLS
from semivox.wording import first_names, printable

UNITS = {"dice": " %", "jaccard": " %", "nsd": " %"}
NAMES = {"dice": "Dice", "jaccard": "Jaccard", "hd95": "HD95", "asd": "ASD", "assd": "ASSD", "nsd": "NSD"}
LONGEST_NAME = 60


class Choice(NamedTuple):
    """A case of the picture."""

    rank: str
    """Why it is shown, for example ``"worst"``."""
    case: str


def save_overlay(path: Path, evaluation: Evaluation, *, images: Path | None = None) -> None:
    """Draw the chosen cases as a PNG.

    Args:
        path: file to write.
        evaluation: of which the cases are chosen, by their mean Dice over classes.
        images: folder of the scans; without it, or where a scan is not there, the masks alone are drawn.

    Raises:
        InputError: when a scan of ``images`` is damaged.
    """
    pairs = {row.case: row.pair for row in evaluation.rows}
    scans = {} if images is None else label_maps(images)
    views = [
        _view(pairs[choice.case], _title(choice, evaluation), scans=scans, wanted=images is not None)
        for choice in choose_cases(evaluation)
    ]
    with atomic_file(path) as temporary:
        draw_sheet(temporary, views)


def choose_cases(evaluation: Evaluation) -> list[Choice]:
    """Worst, lower median and best case by mean Dice; fewer when there are not three cases with a Dice."""
    dice = evaluation.case_mean("dice")
    ranked = sorted(dice, key=lambda case: (dice[case], case))
    if not ranked:
        return [Choice("nothing to find in", evaluation.cases[0])]
    if len(ranked) == 1:
        return [Choice("only case", ranked[0])]
    middle = [Choice("median", ranked[(len(ranked) - 1) // 2])] if len(ranked) > 2 else []
    return [Choice("worst", ranked[0]), *middle, Choice("best", ranked[-1])]


def _title(choice: Choice, evaluation: Evaluation) -> str:
    shown = []
    for measure in PROTOCOLS[evaluation.protocol]:
        value = evaluation.case_mean(measure).get(choice.case)
        if value is not None:
            name, _, unit = measure.partition("_")
            shown.append(f"{NAMES[name]} {value:.1f}{UNITS.get(measure, ' ' + unit)}")
    for kind in ("missed", "spurious"):
        names = _absent(evaluation, choice.case, kind)
        shown += [f"{kind}: {names}"] if names else []
    name = printable(choice.case)
    name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return f"{choice.rank}: {name}    {',  '.join(shown)}"


def _absent(evaluation: Evaluation, case: str, kind: str) -> str:
    rows = [row for row in evaluation.rows if row.case == case and row.metrics.kind == kind]
    return first_names((printable(row.class_name if row.class_name != str(row.label) else f"class {row.label}")
                        for row in rows), limit=3)


def _view(pair: Pair, title: str, *, scans: dict[str, Path], wanted: bool) -> View:
    prediction, reference = read_pair(pair)
    geometry = reference.geometry
    image = _scan_of(pair, scans)
    note = "the scan is not in the folder of images, or on another grid" if wanted and image is None else ""
    turned, lps, _ = to_lps(reference.array, geometry)
    return View(title, None if image is None else to_lps(image, geometry)[0], turned, to_lps(prediction, geometry)[0],
                lps.spacing_mm, geometry.spacing_known, note)


def _scan_of(pair: Pair, scans: dict[str, Path]) -> np.ndarray | None:
    """First channel of the case's scan, when it is there and on the grid of the reference."""
    path = scans.get(pair.case) or scans.get(f"{pair.case}_0000")
    if path is None or grid_fault(read_header(path), read_header(pair.reference)):
        return None
    return read_image(path).array
