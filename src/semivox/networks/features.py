"""The feature maps that a network exposes: how wide they are, and a clear error where there are none."""

from __future__ import annotations

from torch import nn

from semivox.errors import UsageError
from semivox.networks.table import ENTRIES


def encoder_widths(network: nn.Module, *, needed_by: str) -> tuple[int, ...]:
    """Channels of the encoder maps x1..x5, finest first.

    Raises:
        UsageError: the network does not expose these maps; names those that do, and who needs them.
    """
    return _widths(network, "encoder", needed_by)


def decoder_widths(network: nn.Module, *, needed_by: str) -> tuple[int, ...]:
    """Channels of the decoder maps x6..x9, coarsest first; the last map has the image's size.

    Raises:
        UsageError: the network does not expose these maps; names those that do, and who needs them.
    """
    return _widths(network, "decoder", needed_by)


def _widths(network: nn.Module, part: str, needed_by: str) -> tuple[int, ...]:
    widths = getattr(network, f"{part}_widths", ())
    if not widths:
        problem = f"{_name(network)} does not expose its {part} maps, which {needed_by} learns from"
        raise UsageError("C3", "network.name", problem, f"choose {_choices()}")
    return tuple(widths)


def _choices() -> str:
    return ", ".join(f"{name} ({entry.dimensions}D)" for name, entry in ENTRIES.items())


def _name(network: nn.Module) -> str:
    """Class of a network; that of another library's is wrapped."""
    return type(getattr(network, "network", network)).__name__
