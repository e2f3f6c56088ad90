"""Which files make a case, and where its label map goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from semivox.errors import InputError, UsageError
from semivox.imaging.files import IMAGE_ENDINGS, is_image_file, split_ending
from semivox.imaging.naming import ChannelName, split_channel
from semivox.inference.predictor import PROBABILITIES


class InputCase(NamedTuple):
    """The files of one case."""

    name: str
    paths: tuple[Path, ...]
    """In the order of the channel numbers."""
    channels: tuple[int, ...]
    """The channel numbers in the file names; a name without number counts as 0."""
    output_name: str
    """Name of its label map: the case's name with the ending of its scans."""

    def require_channels(self, names: Sequence[str]) -> None:
        """Check that there is one file for each channel that the network was trained with.

        Raises:
            InputError: P2, names the channel numbers found and expected.
        """
        expected = tuple(range(len(names)))
        if self.channels != expected:
            found, wanted = (", ".join(f"_{number:04d}" for number in numbers) for numbers in (self.channels, expected))
            raise InputError("P2", self.name, f"found channels {found}, the network was trained with {wanted}"
                             f" ({', '.join(names)})", "give one file for each channel")


class Job(NamedTuple):
    """A case and the file that its label map is written to."""

    case: InputCase
    out_path: Path


def find_inputs(source: Path, channels: int) -> list[InputCase]:
    """Find the cases of a folder (not of its subfolders), or the case that one file belongs to.

    ``x_0000.nii.gz`` is channel 0 of case ``x``. With one channel ``x.nii.gz`` is case ``x``, too. With several, a
    single file stands for its case: the other channels are looked for beside it.

    Args:
        source: a scan or a folder of scans.
        channels: number of channels that the network takes.

    Returns:
        Cases by name. A case may lack channels: see :meth:`InputCase.require_channels`.

    Raises:
        UsageError: D1, the path does not exist.
        InputError: D2, there is no scan; D6, two files are the same channel of a case.
    """
    if source.is_file():
        if not is_image_file(source):
            raise InputError("D2", source, "not a scan by its name", f"give one of {', '.join(IMAGE_ENDINGS)}")
        key = _key(source, channels, set())
        beside = _scans(source.parent) if channels > 1 else [source]
        return [_case(key, [path for path in beside if _key(path, channels, set()) == key])]
    if not source.is_dir():
        raise UsageError("D1", source, "no such file or folder", "check the path")
    files = list(_scans(source))
    if not files:
        others = sorted(path.name for path in source.iterdir())[:5]
        seen = f"found {', '.join(others)}" if others else "it is empty"
        raise InputError("D2", source, f"no scan in this folder, {seen}", f"give files with {', '.join(IMAGE_ENDINGS)}")
    names = {path.name for path in files}
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        groups.setdefault(_key(path, channels, names), []).append(path)
    return [_case(key, groups[key]) for key in sorted(groups)]


def plan_outputs(cases: Iterable[InputCase], source: Path, out: Path) -> list[Job]:
    """Say where each label map goes.

    ``out`` is a folder; for a single file as ``source`` it may also be a file name with the ending of an image.

    Raises:
        UsageError: C6, a label map would fall among the scans; C2, ``out`` is a file but must be a folder.
    """
    cases = list(cases)
    as_file = source.is_file() and is_image_file(out) and not out.is_dir()
    if not as_file and out.exists() and not out.is_dir():
        raise UsageError("C2", out, "a file, expected a folder for the label maps", "name another folder")
    if source.is_dir() and out.resolve() == source.resolve():
        raise UsageError("C6", out, "the folder of the scans cannot take the label maps", "name another folder")
    jobs = [Job(case, out if as_file else out / case.output_name) for case in cases]
    scans = {path.resolve() for case in cases for path in case.paths}
    for job in jobs:
        if job.out_path.resolve() in scans:
            raise UsageError("C6", job.out_path, "the label map would replace its scan", "name another folder")
    return jobs


def refuse_existing(jobs: Iterable[Job], *, probabilities: bool) -> None:
    """Refuse to replace label maps or probabilities of an earlier prediction.

    Raises:
        UsageError: P8, with their number and the first.
    """
    existing = [job.out_path for job in jobs if job.out_path.exists()]
    if probabilities and not existing:
        existing = [path for job in jobs for path in _probabilities_of(job)]
    if existing:
        raise UsageError("P8", existing[0], f"results exist already ({len(existing)} files)",
                         "add --overwrite, or name another folder")


def _probabilities_of(job: Job) -> list[Path]:
    name = split_ending(job.out_path.name)[0]
    folder = job.out_path.parent / PROBABILITIES
    return [path for path in folder.iterdir() if path.name.startswith(f"{name}_prob_")] if folder.is_dir() else []


def _scans(folder: Path) -> Iterable[Path]:
    """Visible scans of a folder, by name."""
    return (path for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and path.is_file() and is_image_file(path))


def _key(path: Path, channels: int, names: set[str]) -> tuple[str, str]:
    """Case name and ending. With one channel a number at the end belongs to the name unless ``_0000`` is there."""
    stem, ending = split_ending(path.name)
    name = split_channel(stem)
    if name is None:
        return stem, ending
    first = f"{ChannelName(name.case, 0).stem}{ending}"
    if channels > 1 or path.name == first or first in names:
        return name.case, ending
    return stem, ending


def _case(key: tuple[str, str], files: list[Path]) -> InputCase:
    """Put the files of one case in order."""
    name, ending = key
    numbered: dict[int, Path] = {}
    for path in files:
        channel = split_channel(split_ending(path.name)[0])
        number = channel.channel if channel is not None and channel.case == name else 0
        if number in numbered:
            raise InputError("D6", name, f"{numbered[number].name} and {path.name} are the same channel",
                             "remove one of them")
        numbered[number] = path
    order = tuple(sorted(numbered))
    return InputCase(name, tuple(numbered[number] for number in order), order, name + ending)
