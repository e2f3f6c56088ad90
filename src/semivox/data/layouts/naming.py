"""From file names to cases: ``x_0001.nii.gz`` is channel 1 of case ``x``, unless ``x_0001`` is itself a case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

_SUFFIXED = re.compile(r"(?P<base>.+)_(?P<channel>\d{4})", re.DOTALL)


class Naming(NamedTuple):
    """How to split a file's name (without its ending) into case and channel."""

    known: frozenset[str]
    """Names that are cases for sure: those of masks and lists."""
    suffix_by_default: bool
    """What ``_dddd`` means in a name about which ``known`` says nothing."""

    def parse(self, stem: str) -> tuple[str, int]:
        """Case name and channel index of a file name."""
        match = _SUFFIXED.fullmatch(stem)
        if match is None or stem in self.known:
            return stem, 0
        if match["base"] in self.known or self.suffix_by_default:
            return match["base"], int(match["channel"])
        return stem, 0


def find_naming(stems: Iterable[str], known: Collection[str], *, channels: int | None) -> Naming:
    """Decide what four digits at the end of a name mean.

    Masks and lists decide where they can (``la_0001`` with a mask ``la_0001`` is a case, ``a_0000`` with a mask
    ``a`` is a channel). Names without a mask follow those with one; with no mask at all, the digits are channels
    when most cases then have a channel 0 and none has more channels than are declared.

    Args:
        stems: image file names without their endings.
        known: names of masks and of cases in lists.
        channels: number of channels that ``dataset.json`` declares, or None.
    """
    names = frozenset(known)
    matches = {stem: match for stem in stems if (match := _SUFFIXED.fullmatch(stem))}
    cases = sum(stem in names for stem in matches)
    suffixes = sum(stem not in names and match["base"] in names for stem, match in matches.items())
    if cases != suffixes:
        return Naming(names, suffixes > cases)
    bases = {match["base"] for match in matches.values()}
    complete = sum(f"{base}_0000" in matches for base in bases)
    highest = max((int(match["channel"]) for match in matches.values()), default=0)
    fits = highest < channels if channels is not None else True
    return Naming(names, fits and 2 * complete > len(bases))


def usual_channels(groups: Iterable[Collection[int]], *, declared: int | None) -> int:
    """Number of channels of the dataset: what most cases have, or more if more are declared and some case has them."""
    counts = Counter(tuple(sorted(group)) for group in groups)
    commonest = max(counts, key=lambda group: (counts[group], len(group)))[-1] + 1
    if declared is not None and declared > commonest and tuple(range(declared)) in counts:
        return declared
    return commonest
