"""Write the two reference pages that are made from the code: ``python docs/scripts/reference.py``.

``docs/reference/configuration.md`` comes from the configuration's dataclasses: their fields, types and the string
under each field. ``docs/reference/cli.md`` comes from the command line itself. A test compares both with the code.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from annotated_types import Ge, Gt, Le, Lt

from semivox.cli import app
from semivox.config import SCALARS, SECTIONS, RunConfig, StageConfig
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.methods import METHODS, get_method
from semivox.recipes import defaults

REFERENCE = Path(__file__).parents[1] / "reference"
GENERATED = "<!-- Written by `python docs/scripts/reference.py`: change the code, then run it again. -->\n"
HEADER = "| Key | Default | Legal values | Meaning |\n|---|---|---|---|"

MEANINGS = {
    "optimizer.name": "SGD with momentum (the literature's choice), or AdamW.",
    "optimizer.lr": "Learning rate before the schedule.",
    "optimizer.weight_decay": "L2 penalty (`sgd`) or decoupled decay (`adamw`); a method's parameter group may have "
    "its own.",
    "optimizer.schedule": "constant: lr. step: lr times `decay_factor` every `decay_every_steps`. poly: falls to 0 at "
    "the end of the stage.",
    "engine.precision": "auto: bf16 where the device computes with it natively, else fp32. The `config.json` of a run "
    "holds what was chosen.",
    "engine.accelerator": "auto: the GPU if there is one, else the CPU.",
    "engine.nodes": "Machines; with more than one, start the command with `torchrun`.",
    "engine.stages": "Parts of the run in order, each `{\"name\": ..., \"steps\": ...}`; they sum to `engine.steps`.",
    "engine.validate_every": "Steps between two validations, when there are validation cases.",
    "engine.log_every": "Steps between two rows of `metrics.jsonl`; a row averages over them.",
    "stage.name": "Name that the method gives the stage.",
    "stage.steps": "Optimizer steps of the stage.",
    "seed": "Seed of initial weights, order of cases, crops and noise.",
    "profile": "Named set of overrides that the method offers.",
    "format": "Version of this layout.",
}
"""For fields without a string under them in the code; such a string always comes first."""

INTRODUCTION = """# Configuration

Every run is described by one JSON object. `semivox train` puts it together from weak to strong: defaults of the method
and of the store's plan, the profile, `--config FILE`, the flags, `--set KEY=VALUE`. The result is the run's
`config.json`, which `--config` takes back. [Configure a run](../how-to/configure-a-run.md) shows how.

A key that does not exist, or a value of another type or out of range, stops with exit code 2 and a line that names the
full path, the value found, and the near match or the legal values.

In the column *Default*, **plan** marks what is taken from the [plan](../how-to/edit-the-plan.md) of the store, and
**scaled** a number of steps that is declared for a run of the method's published length and kept at the same fraction
of a shorter run.
"""


def configuration_page() -> str:
    """The whole of ``configuration.md``."""
    parts = [INTRODUCTION, GENERATED, "## The run\n", table(RunConfig, "", only=set(SCALARS))]
    for name, cls in SECTIONS.items():
        parts += [f"\n## {name}\n", f"{first_line(cls)}\n", table(cls, name)]
        if name == "engine":
            parts += ["\nEach entry of `engine.stages` has", "", table(StageConfig, "stage", prefix="stages[].")]
    parts += ["\n## method\n", "The fields of this section are those of the method's own configuration."]
    for name in METHODS:
        method = get_method(name)
        parts += [f"\n### {name}\n", f"{first_line(method.Config)} Published length: {method.published_steps} steps. "
                  f"[About the method](../methods/{name}.md).\n", table(method.Config, "method"), *profiles(name)]
    return "\n".join(parts) + "\n"


def table(cls: type, section: str, *, only: set[str] | None = None, prefix: str = "") -> str:
    """One row for each field of a configuration dataclass."""
    documented = field_docstrings(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = [HEADER]
    for entry in fields(cls):
        if only is not None and entry.name not in only:
            continue
        path = f"{section}.{entry.name}" if section else entry.name
        meaning = documented.get(entry.name) or MEANINGS[path]
        shown = f"{prefix}{entry.name}" if prefix else path
        rows.append(f"| `{shown}` | {default_of(entry, path)} | {legal(hints[entry.name])} | {cell(meaning)} |")
    return "\n".join(rows)


def default_of(entry: Field[Any], path: str) -> str:
    """The default as JSON, and where it comes from when it is not fixed."""
    if path in plan_keys():
        return "plan"
    if path == "engine.steps":
        return "published length"
    if path == "engine.stages":
        return "the method's"
    value = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    if value is MISSING:
        return "required"
    scaled = ", scaled" if entry.name.endswith("_steps") else ""
    return f"`{json.dumps(value)}`{scaled}"


def plan_keys() -> set[str]:
    """Dotted paths whose default is the plan's."""
    channel = ChannelPlan(name="MRI", scheme="zscore", mean=0, std=1, percentile_00_5=0, percentile_99_5=1)
    plan = Plan(recipe="auto", dimensions=3, channels=(channel,), class_names=("background", "organ"), spacing_mm=None,
                spacing_known=True, patch_size=(16, 16, 16), labeled_per_batch=1, unlabeled_per_batch=1, network="vnet")
    chosen = defaults(plan, "supervised", 6000)
    return {f"{section}.{key}" for section in ("network", "data") for key in chosen[section]}


def legal(hint: Any) -> str:
    """Which values a type allows, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return bounds(arguments[0], arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        others = [legal(part) for part in arguments if part is not type(None)]
        return ", ".join([*others, "`null`"] if type(None) in arguments else others)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {legal(arguments[0])}" if typing.get_origin(arguments[0]) is Literal else "list"
        return f"{len(arguments)} times: {legal(arguments[0])}"
    return {bool: "`true`, `false`", int: "whole number", float: "number", str: "text", dict: "object"}[origin or hint]


def bounds(kind: type, limits: tuple[Any, ...]) -> str:
    """A number's range in words."""
    signs = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
    found = [f"{signs[type(limit)]} {getattr(limit, type(limit).__name__.lower())}" for limit in limits]
    return f"{'whole number' if kind is int else 'number'} {', '.join(found)}"


def field_docstrings(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass and of its bases, on one line."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for entry, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and is_string(below):
                found[entry.target.id] = " ".join(inspect.cleandoc(ast.literal_eval(below.value)).split())
    return found


def is_string(node: ast.stmt) -> typing.TypeGuard[ast.Expr]:
    """Whether a statement is nothing but a string."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def profiles(name: str) -> list[str]:
    """The profiles of a method beside the default."""
    rows = [f"| `{profile}` | {', '.join(f'`{key}` = `{json.dumps(value)}`' for key, value in overrides.items())} |"
            for profile, overrides in get_method(name).profiles.items() if overrides]
    return ["\n| Profile | Sets |\n|---|---|", *rows] if rows else []


def first_line(cls: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def cell(text: str) -> str:
    """Text that fits into a table's cell: a bar would end it, ``<`` start a tag; ``code`` has one backtick here."""
    parts = text.replace("``", "`").replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


CLI_INTRODUCTION = """# Command line

`semivox VERB --help` prints the same; `python -m semivox` is the same program. Results go to stdout, progress, warnings
and errors to stderr. The codes that commands end with are listed under [Exit codes and error lines](exit-codes.md).
"""


def cli_page() -> str:
    """The whole of ``cli.md``."""
    parts = [CLI_INTRODUCTION, GENERATED]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        parts += [f"## semivox {name}\n", *verb(name, command)]
    return "\n".join(parts)


def verb(name: str, command: Any) -> Iterator[str]:
    """Usage, text, examples and parameters of one verb."""
    arguments = [parameter for parameter in command.params if parameter.opts[0] == parameter.name]
    options = [parameter for parameter in command.params if parameter.opts[0] != parameter.name]
    words = [name, *map(placeholder, arguments), *["[OPTIONS]"] * bool(options)]
    yield f"```text\nsemivox {' '.join(words)}\n```\n"
    text, examples = split_examples(f"{command.help}\n\n{command.epilog or ''}")
    yield text + "\n"
    yield "\n".join(["```bash", *examples, "```\n"])
    if arguments:
        yield "\n".join(["| Argument | Meaning |", "|---|---|",
                         *(f"| `{placeholder(each).strip('[]')}` | {cell(each.help)} |" for each in arguments), ""])
    if options:
        yield "\n".join(["| Option | Default | Meaning |", "|---|---|---|", *map(option_row, options), ""])


def placeholder(argument: Any) -> str:
    """How an argument is written in the usage line."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def option_row(option: Any) -> str:
    """One option as a table's row."""
    choices = getattr(option.type_descriptor.annotation, "__members__", None)
    value = "" if option.is_flag else f" {option.metavar or '|'.join(choices or []) or option.name.upper()}"
    names = cell(", ".join(f"`{spelling}{value}`" for spelling in option.opts))
    default = option.show_default if isinstance(option.show_default, str) else option.default
    shown = "required" if option.required else "" if default is None or option.is_flag else f"`{default}`"
    repeated = " May be repeated." if option.multiple else ""
    return f"| {names} | {shown} | {cell(option.help)}{repeated} |"


def split_examples(text: str) -> tuple[str, list[str]]:
    """A help text without its examples, and the examples."""
    examples = re.findall(r"Example: `?(semivox [^`\n]+)`?", text)
    rest = re.sub(r"Example: `?semivox [^`\n]+`?", "", text)
    rest = re.sub(r"(?<!`)(semivox [a-z]+ [A-Z][^`\n]*)$", r"`\1`", rest, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", rest).strip(), examples


PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration_page, "cli.md": cli_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
