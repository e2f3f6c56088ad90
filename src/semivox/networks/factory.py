"""From the name of a network to a function that builds it, once, twice, or with differences."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semivox.errors import UsageError, did_you_mean
from semivox.networks.table import ENTRIES, OTHER, find_entry, monai_class_name
from semivox.types import Task

if TYPE_CHECKING:
    from torch import nn

INITIALIZATIONS = ("default", "kaiming")

NetworkFactory = Callable[..., "nn.Module"]
"""``make_network(**overrides)``: a new network on each call; its forward returns an ``Output``."""


def network_factory(  # noqa: PLR0913 - one keyword for each setting
    name: str,
    *,
    task: Task,
    width: int | None = None,
    decoder: str | None = None,
    dropout: float | None = None,
    init: str | None = None,
    options: Mapping[str, Any] | None = None,
    patch_size: Sequence[int] | None = None,
) -> NetworkFactory:
    """Prepare the building of networks; None leaves a setting to the network's own default.

    Args:
        name: a key of ``NETWORKS``, or ``"monai:<Class>"`` for a class of ``monai.networks.nets``.
        task: gives dimensions, channels and classes.
        width: channels of the finest resolution.
        decoder: kind of upsampling, of those that the network has.
        dropout: probability in [0, 1); 0 switches it off.
        init: ``"default"`` or ``"kaiming"``.
        options: constructor arguments of a MONAI network, by their names there.
        patch_size: for MONAI networks that are built for one image size (``img_size``).

    Returns:
        ``make_network(**overrides)``. A method may override any setting (``decoder="trilinear"``, ``dropout=0.0``),
        ``channels``, ``classes``, take another network (``name="vnet"``, with those settings that it has too), and
        pass ``mid`` to a network that has it; None overrides nothing.

    Raises:
        UsageError: unknown name, a setting which the network does not have, or a network for other dimensions. The
            returned function raises it for overrides.
        ResourceError: a MONAI network is asked for and MONAI is not installed.
    """
    settings = {"width": width, "decoder": decoder, "dropout": dropout, "init": init}
    monai = monai_class_name(name)
    if monai is not None:
        from semivox.networks.monai_networks import monai_factory

        build = monai_factory(monai, task=task, settings=settings, options=options or {}, patch_size=patch_size)
    else:
        _check_own(name, task, settings, options=options or {})
        build = _own_factory(name, task, settings)

    def make_network(**overrides: Any) -> nn.Module:
        other = overrides.pop("name", None) or name
        if other == name:
            return build(**overrides)
        keywords = ENTRIES[other].keywords if other in ENTRIES else ()
        shared: dict[str, Any] = {key: value for key, value in settings.items() if key in keywords}
        return network_factory(other, task=task, patch_size=patch_size, **shared)(**overrides)

    return make_network


def _own_factory(name: str, task: Task, settings: Mapping[str, Any]) -> NetworkFactory:
    def make_network(**overrides: Any) -> nn.Module:
        if overrides.get("decoder") == OTHER:
            overrides["decoder"] = _other_decoder(name, settings.get("decoder"))
        _check_settings(name, overrides)
        module, _, class_name = find_entry(name).target.partition(":")
        arguments = {"channels": task.channels, "classes": task.classes} | _given(settings) | _given(overrides)
        network: nn.Module = getattr(importlib.import_module(module), class_name)(**arguments)
        return network

    return make_network


def _other_decoder(name: str, decoder: Any) -> str | None:
    """The first kind of decoder that is not the configured one; None where a network has a single kind."""
    kinds = find_entry(name).decoders
    mine = decoder or next(iter(kinds), None)
    return next((kind for kind in kinds if kind != mine), None)


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _check_own(name: str, task: Task, settings: Mapping[str, Any], *, options: Mapping[str, Any]) -> None:
    entry = find_entry(name)
    if entry.dimensions != task.dimensions:
        problem = f"{name} segments {entry.dimensions}D images, found a plan for {task.dimensions}D"
        fitting = [f"'{other}'" for other, found in ENTRIES.items() if found.dimensions == task.dimensions]
        fix = f"choose {' or '.join(fitting)}"
        raise UsageError("C3", "network.name", problem, fix)
    for key in options:
        problem = f"{name} takes no options, they are for MONAI networks"
        raise UsageError("C1", f"network.options.{key}", problem, "remove it")
    _check_settings(name, settings)


def _check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Each given setting must be one that the network has, with a legal value."""
    entry = find_entry(name)
    legal = {"channels", "classes", *entry.keywords}
    for key, value in settings.items():
        if value is not None and key not in legal:
            problem = f"{name} has no setting '{key}', found {value!r}"
            others = _networks_with(key, entry.dimensions)
            raise UsageError("C3", f"network.{key}", problem, f"remove it, or choose {others}")
    decoder = settings.get("decoder")
    if decoder is not None and decoder not in entry.decoders:
        problem = f"{name} has no decoder '{decoder}'"
        raise UsageError("C2", "network.decoder", problem, did_you_mean(decoder, entry.decoders))
    init = settings.get("init")
    if init is not None and init not in INITIALIZATIONS:
        raise UsageError("C2", "network.init", f"unknown value '{init}'", did_you_mean(init, INITIALIZATIONS))


def _networks_with(key: str, dimensions: int) -> str:
    names = [name for name, entry in ENTRIES.items() if key in entry.keywords and entry.dimensions == dimensions]
    return " or ".join(names) or "another network"
