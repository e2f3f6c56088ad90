"""Errors that a user can act on: each names the file or option, the value found and the fix.

The exit code is a property of the class; the command line prints ``str(error)`` and exits with it.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path


class SemivoxError(Exception):
    """A failure with a one-line explanation.

    Args:
        code: catalog code without prefix, for example ``"D1"`` (printed as ``SVX-D1``).
        subject: the file, case or option that it is about.
        problem: what is wrong, with the value found and the value expected.
        fix: one concrete step.
    """

    exit_code = 1
    level = "ERROR"

    def __init__(self, code: str, subject: str | Path, problem: str, fix: str) -> None:
        self.code, self.subject, self.problem, self.fix = code, str(subject), problem, fix
        super().__init__(code, self.subject, problem, fix)

    def __str__(self) -> str:
        return f"{self.level} SVX-{self.code}  {self.subject}: {self.problem}.  Fix: {self.fix}."


class UsageError(SemivoxError):
    """Wrong command line or configuration."""

    exit_code = 2


class InputError(SemivoxError):
    """Bad input data."""

    exit_code = 3


class PartialFailure(SemivoxError):
    """Finished, but some cases failed (listed in ``failed.json``)."""

    exit_code = 4


class ResourceError(SemivoxError):
    """The machine lacks something: disk, memory, device, permission, an optional package."""

    exit_code = 5


class BusyError(SemivoxError):
    """Another process works on this run directory."""

    exit_code = 6


class CheckpointError(SemivoxError):
    """A checkpoint is missing, damaged or does not match."""

    exit_code = 7


class DivergedError(SemivoxError):
    """Training produced a loss that is not finite."""

    exit_code = 8


class StoppedError(SemivoxError):
    """Stopped on request; ``resume`` continues."""

    exit_code = 75
    level = "STOPPED"


def explained(error: Exception, *, fix: str) -> SemivoxError:
    """Any error as one that names what it is about and what to do.

    Args:
        error: what was raised.
        fix: what to do about an error that nobody has thought of.
    """
    if isinstance(error, SemivoxError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("C9", "memory", "not enough memory for this",
                             "use a smaller patch, batch or fewer workers")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}:
        return ResourceError("C7", error.filename or "disk", os.strerror(error.errno or 0).lower(),
                             "free some space, or choose a folder that can be written")
    return SemivoxError("BUG", type(error).__name__, " ".join(str(error).split()) or "no details", fix)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """``"did you mean 'caml'? Legal values: ..."``, or the legal values alone when nothing is near."""
    known = sorted(options)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listing = "legal values: " + ", ".join(known)
    return f"did you mean '{near[0]}'? {listing[0].upper()}{listing[1:]}" if near else listing
