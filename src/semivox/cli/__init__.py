"""The command line: one module a verb, errors in one line, exit codes that scripts can rely on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.exceptions import Abort, Exit, TyperException

from semivox.cli import check, compare, demo, doctor, evaluate, methods, predict, prepare, report, resume, train
from semivox.errors import SemivoxError, UsageError, did_you_mean, explained

VERBS = (demo, check, prepare, train, resume, predict, evaluate, compare, report, methods, doctor)
DEBUG_VARIABLE = "SEMIVOX_DEBUG"

app = typer.Typer(
    name="semivox", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train 3D medical segmenters from a few labeled scans and many unlabeled ones.",
)
for verb in VERBS:
    verb.register(app)


@app.callback(invoke_without_command=True)
def version_option(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Train 3D medical segmenters from a few labeled scans and many unlabeled ones."""
    if version:
        import semivox

        typer.echo(semivox.__version__)
        raise Exit(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; every error is one line on stderr."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False, prog_name="semivox")
        return result if isinstance(result, int) else 0
    except Exit as stop:
        return stop.exit_code
    except (Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return UsageError.exit_code  # the help that was asked for has been printed
        if os.environ.get(DEBUG_VARIABLE):
            raise
        failure = as_failure(error)
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code


def as_failure(error: Exception) -> SemivoxError:
    """Any error as one that names what it is about and what to do."""
    if isinstance(error, TyperException):
        return _usage_failure(error)
    return explained(error, fix=f"run it again with {DEBUG_VARIABLE}=1 set and report what it prints")


def _usage_failure(error: TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "semivox"
    fix = f"`{command} --help` shows the options and an example"
    group = getattr(context, "command", None)
    message = error.format_message().rstrip(".")
    if message.startswith("No such command"):
        message = message.partition(". Did you mean")[0]
        fix = did_you_mean(message.split("'")[1], getattr(group, "commands", {}))
    return UsageError("C1", Path(command).name, message[:1].lower() + message[1:], fix)
