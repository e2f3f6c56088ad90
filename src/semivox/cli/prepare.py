"""``semivox prepare``: a dataset folder becomes a store that training reads fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from semivox.data.store import Store

HELP = """Fingerprint a dataset, plan, resample and normalize its scans, and write the store.

Recipes: auto (chosen from the scans), la and la_half (the literature's choices for the left atrium data).
A stopped run goes on where it was when the same command is given again.

Example: semivox prepare DATA STORE --recipe auto --workers 4

The plan can be edited and used for a new store: semivox prepare DATA STORE2 --plan STORE/plan.json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command("prepare", help=HELP)(run)


def run(
    data: Annotated[Path, typer.Argument(help="Dataset folder (imagesTr, labelsTr, ...).", show_default=False)],
    store: Annotated[Path, typer.Argument(help="Folder of the store: new, empty, or one to continue.",
                                          show_default=False)],
    recipe: Annotated[str | None, typer.Option(help="auto, la or la_half.", show_default="auto")] = None,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to use instead of a recipe.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; each holds about two scans in memory. 0: none.")] = 2,
) -> None:
    """Prepare and print what was made."""
    import time

    from semivox.data.dataset import find_dataset
    from semivox.data.prepare import prepare

    start = time.monotonic()
    for problem in find_dataset(data).problems:
        if problem.severity != "error":
            typer.echo(problem.line(), err=True)
    result = prepare(data, store, recipe=recipe, plan_path=plan, workers=workers)
    _show(result, time.monotonic() - start)


def _show(store: Store, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("prepared", store.name, title=str(store.path), title_justify="left")
    for name, value in _facts(store, seconds):
        table.add_row(name, value)
    Console().print(table)


def _facts(store: Store, seconds: float) -> list[tuple[str, str]]:
    plan = store.plan
    counts = {role: sum(case.role == role for case in store.cases) for role in ("train", "unlabeled", "test")}
    labels = sum(case.has_label for case in store.cases if case.role != "test")
    size_mb = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file()) / 1e6
    spacing = "each scan's own" if plan.spacing_mm is None else " x ".join(f"{value:g}" for value in plan.spacing_mm)
    return [
        ("cases", f"{counts['train'] + counts['unlabeled']} for training ({labels} with a label), "
                  f"{counts['test']} for testing"),
        ("channels", ", ".join(f"{channel.name} ({channel.scheme})" for channel in plan.channels)),
        ("classes", ", ".join(plan.class_names)),
        ("spacing mm", spacing),
        ("patch voxels", " x ".join(str(side) for side in plan.patch_size)),
        ("batch", f"{plan.labeled_per_batch} labeled + {plan.unlabeled_per_batch} unlabeled, {plan.network}"),
        ("disk MB", f"{size_mb:.0f}"),
        ("seconds", f"{seconds:.1f}"),
    ]
