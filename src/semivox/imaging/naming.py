"""File names of channels: ``x_0001.nii.gz`` is channel 1 of case ``x``."""

from __future__ import annotations

import re
from typing import NamedTuple

_SUFFIXED = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})", re.DOTALL)


class ChannelName(NamedTuple):
    """A file name that ends in four digits."""

    case: str
    channel: int

    @property
    def stem(self) -> str:
        """The name that it was split from."""
        return f"{self.case}_{self.channel:04d}"


def split_channel(stem: str) -> ChannelName | None:
    """``"x_0001"`` -> case ``"x"``, channel 1; None for a name without four digits at its end.

    Whether the digits mean a channel is for the caller to say: ``la_0001`` may itself be a case.

    Args:
        stem: file name without its ending.
    """
    match = _SUFFIXED.fullmatch(stem)
    return ChannelName(match["case"], int(match["channel"])) if match else None
