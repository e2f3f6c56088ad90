"""``semivox demo``: the whole story on generated scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = """
Show the whole story on generated scans: check, prepare, train, predict, evaluate, in a few minutes on 2 CPU cores.

Example: `semivox demo semivox-demo`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="New folder, or that of a demo to continue.")] = Path("semivox-demo"),
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of each of the two trainings.")] = 300,
) -> None:
    """Run the story and show what came out."""
    from rich.console import Console
    from rich.table import Table

    from semivox.cli import run
    from semivox.demo.story import LABELED, tell_story

    console = Console()
    scores = tell_story(folder, run, steps=steps, say=typer.echo)
    table = Table("method", "Dice %", "HD95 mm", "missed", box=None, header_style="bold",
                  title=f"{LABELED} labeled scans, {steps} steps, mean ± std over the test scans")
    for score in scores:
        table.add_row(score.method, f"{score.dice_percent:.1f} ± {score.dice_std_percent:.1f}",
                      f"{score.hd95_mm:.1f}", str(score.missed))
    console.print(table)
    for score in scores:
        typer.echo(f"worst, median and best case of {score.method}: {score.overlay}")
