"""What is wrong with a dataset, as records that can be collected, printed and written: one line each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from semivox.errors import InputError, SemivoxError
from semivox.wording import count_of, printable

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Problem(NamedTuple):
    """One finding. ``problem`` and ``fix`` end without a full stop, as those of an error do."""

    code: str
    """Catalog code without prefix, for example ``"D4"`` (printed as ``SVX-D4``)."""
    severity: Severity
    subject: str
    """The file (relative to the dataset's root), the case or the option."""
    problem: str
    """What is wrong, with the value found and the value expected."""
    fix: str
    """One concrete step."""

    def line(self) -> str:
        """The finding as one printable line, in the form of an error line.

        Control characters and bytes that are not text are escaped, so that a file name cannot break the line
        or drive the terminal.
        """
        text = f"{self.subject}: {self.problem}.  Fix: {self.fix}."
        return f"{self.severity.upper()} SVX-{self.code}  {printable(text)}"


def relative(path: Path, root: Path) -> str:
    """``path`` as it is named in findings: relative to the dataset's root when it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def from_error(error: SemivoxError, root: Path, *, severity: Severity = "error") -> Problem:
    """Turn an exception about a file below ``root`` into a finding."""
    subject = error.subject
    if Path(subject).is_absolute() or not root.is_absolute():
        subject = relative(Path(subject), root)
    return Problem(error.code, severity, subject, error.problem, error.fix)


def raise_on_error(problems: Iterable[Problem]) -> None:
    """Refuse to go on with a dataset that has errors.

    Raises:
        InputError: the first error, naming how many more there are.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    first, rest = errors[0], len(errors) - 1
    more = f" ({count_of(rest, 'more error')}: `semivox check` lists all)" if rest else ""
    raise InputError(first.code, printable(first.subject), printable(first.problem) + more, printable(first.fix))
