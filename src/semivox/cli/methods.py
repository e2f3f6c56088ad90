"""``semivox methods``: what can be trained."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

EXAMPLE = """
List the methods: name, paper, year, one line each.

Example: `semivox methods --json`
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(methods)


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="JSON alone on stdout, with parameter counts.")] = False,
) -> None:
    """List the methods."""
    from semivox.methods import METHODS, plugins

    if as_json:
        typer.echo(json.dumps([describe(name) for name in METHODS], indent=2))
        return
    width = max(map(len, METHODS))
    for name, entry in METHODS.items():
        typer.echo(f"{name:{width}}  {entry.year}  {entry.title}: {entry.summary}")
    for name, target in plugins().items():
        typer.echo(f"{name:{width}}  from {target}")


def describe(name: str) -> dict[str, Any]:
    """Citation and parameter counts of a method: 1 channel, 2 classes, its default network."""
    import torch

    from semivox.methods import METHODS, get_method
    from semivox.networks import network_factory
    from semivox.types import Task

    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=1)
    method_class = get_method(name)
    with torch.device("meta"):
        method = method_class(method_class.Config(name=name), network_factory("vnet", task=task), task)
    entry = METHODS[name]
    return {
        "name": name, "title": entry.title, "authors": entry.authors, "venue": entry.venue, "year": entry.year,
        "summary": entry.summary,
        "trainable_parameters": sum(value.numel() for value in method.parameters() if value.requires_grad),
        "deployed_parameters": sum(value.numel() for value in method.predictor().parameters()),
    }
