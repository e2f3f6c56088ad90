"""``semivox evaluate``: score predictions against references."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: semivox evaluate predictions/ store/labelsTs --out scores/ --images store/imagesTs"


class Protocol(StrEnum):
    """Which measures are the headline."""

    clinical = "clinical"
    literature = "literature"


class Missing(StrEnum):
    """What a reference without a prediction means."""

    error = "error"
    worst = "worst"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate", epilog=EXAMPLE)(evaluate_command)


def evaluate_command(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of predicted label maps.")],
    references: Annotated[Path, typer.Argument(metavar="REFERENCES", help="Folder of reference label maps.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for cases.csv, summary.json, overlay.png.")],
    protocol: Annotated[
        Protocol,
        typer.Option(help="clinical: Dice, HD95 and ASSD in mm, NSD. literature: Dice, Jaccard, HD95, ASD in voxels."),
    ] = Protocol.clinical,
    tolerance_mm: Annotated[float, typer.Option(help="Tolerance of NSD in mm.")] = 2.0,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Absent structures score 0 in all measures, distances too (literature).")
    ] = False,
    missing: Annotated[
        Missing, typer.Option(help="A reference without a prediction is an error, or counts as an empty prediction.")
    ] = Missing.error,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Scans to show under the contours of overlay.png.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by default as many as are worth their start.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")] = False,
) -> None:
    """Score predictions against references: a table, cases.csv, summary.json and a picture.

    Files are matched by base name, whatever their ending.
    A missed or spurious structure counts with overlap 0 and the image diagonal as distance.
    """
    from rich.console import Console

    from semivox.evaluation.evaluate import RESULT_FILES, evaluate
    from semivox.evaluation.tables import screen_table

    evaluation = evaluate(
        predictions, references, out, protocol=protocol.value, tolerance_mm=tolerance_mm, legacy=legacy,
        missing=missing.value, images=images, workers=workers, overwrite=overwrite,
    )
    console = Console()
    console.print(screen_table(evaluation))
    for name in RESULT_FILES:
        console.print(str(out / name), markup=False, highlight=False, soft_wrap=True)
