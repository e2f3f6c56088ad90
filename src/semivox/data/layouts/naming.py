"""From file names to cases: ``x_0001.nii.gz`` is channel 1 of case ``x``, unless ``x_0001`` is itself a case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from semivox.imaging.naming import split_channel


class Naming(NamedTuple):
    """How to split a file's name (without its ending) into case and channel."""

    known: frozenset[str]
    """Names that are cases for sure: those of masks and lists."""
    suffix_by_default: bool
    """What ``_dddd`` means in a name about which ``known`` says nothing."""

    def parse(self, stem: str) -> tuple[str, int]:
        """Case name and channel index of a file name."""
        name = split_channel(stem)
        if name is None or stem in self.known:
            return stem, 0
        if name.case in self.known or self.suffix_by_default:
            return name.case, name.channel
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
    suffixed = [name for stem in stems if (name := split_channel(stem))]
    cases = sum(name.stem in names for name in suffixed)
    suffixes = sum(name.stem not in names and name.case in names for name in suffixed)
    if cases != suffixes:
        return Naming(names, suffixes > cases)
    first_channels = {name.case for name in suffixed if name.channel == 0}
    highest = max((name.channel for name in suffixed), default=0)
    fits = highest < channels if channels is not None else True
    return Naming(names, fits and 2 * len(first_channels) > len({name.case for name in suffixed}))


def usual_channels(groups: Iterable[Collection[int]], *, declared: int | None) -> int:
    """Number of channels of the dataset: what most cases have, or more if more are declared and some case has them."""
    counts = Counter(tuple(sorted(group)) for group in groups)
    commonest = max(counts, key=lambda group: (counts[group], len(group)))[-1] + 1
    if declared is not None and declared > commonest and tuple(range(declared)) in counts:
        return declared
    return commonest
