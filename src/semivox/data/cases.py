"""The cases of a dataset folder: plain records that every part of this package passes around."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from semivox.data.problems import Problem

Role = Literal["train", "unlabeled", "test"]
Layout = Literal["nnunet", "decathlon", "la_h5"]
ROLES: tuple[Role, ...] = ("train", "unlabeled", "test")
IMAGE_FOLDERS = ("imagesTr", "imagesUn", "imagesTs")
LA_FILE = "mri_norm2.h5"


class CaseFiles(NamedTuple):
    """The files of one case."""

    name: str
    images: tuple[Path, ...]
    """One file per channel, in channel order. In layout ``la_h5`` the one HDF5 file."""
    label: Path | None
    """The mask's file, or None. In layout ``la_h5`` the HDF5 file itself when it holds a mask."""
    role: Role
    """``train``: labeled training case; ``unlabeled``: training case without a label; ``test``: never trained on."""
    stacked: int = 1
    """Above 1, the one file of ``images`` holds this many channels along a fourth axis, as Decathlon's files do."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset folder, understood but not read."""

    root: Path
    layout: Layout
    name: str
    channel_names: tuple[str, ...]
    class_names: tuple[str, ...] | None
    """Index 0 is the background; None when nothing declares the classes (``infer_classes`` reads the masks)."""
    cases: tuple[CaseFiles, ...]
    """Sorted by role (train, unlabeled, test), then by name; names are unique."""
    splits: dict[str, Any] | None = None
    """Lists of case names under ``train``, ``test``, ``val``, and ``labeled`` (count -> list); each is optional."""
    problems: tuple[Problem, ...] = field(default=())
    """What was found on the way. Errors are here as well: ``problems.raise_on_error`` refuses them."""

    def of_role(self, *roles: Role) -> tuple[CaseFiles, ...]:
        """The cases with one of ``roles``, in order."""
        return tuple(case for case in self.cases if case.role in roles)
