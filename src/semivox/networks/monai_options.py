"""Constructor arguments for MONAI's networks, whose signatures agree on little.

What every network needs (dimensions, channels, classes) and what some have no default for (strides, kernel sizes,
widths) is filled in by reading the signature; the user's options win.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from semivox.errors import UsageError, did_you_mean
from semivox.networks.patches import level_option

Signature = Mapping[str, inspect.Parameter]

_LEVELS = 5
_WIDTH = 16
_CLASSES = ("out_channels", "num_classes")
_FROM_THE_TASK = ("spatial_dims", "in_channels", *_CLASSES)
_IMAGE_SIZE = ("img_size", "input_image_size")
_FIRST_WIDTH = ("init_filters", "feature_size", "num_channel_initial")
_DROPOUT = ("dropout", "dropout_prob", "dropout_rate", "drop_rate")


def signature_of(kind: type[nn.Module]) -> Signature:
    """Parameters of a network's constructor by name, without ``self``."""
    return inspect.signature(kind).parameters


def complete_arguments(
    kind: type[nn.Module],
    wanted: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    dimensions: int,
    patch_size: Sequence[int] | None,
) -> dict[str, Any]:
    """Every argument that the constructor is called with.

    Args:
        kind: the class.
        wanted: ``channels`` and ``classes``, and ``width`` and ``dropout`` where they are to differ from the
            network's default.
        options: the user's arguments, by MONAI's names.
        dimensions: 2 or 3.
        patch_size: image size for networks that are built for one.

    Raises:
        UsageError: a setting that the class does not have, an option that it does not know, or one that it lacks.
    """
    keywords = signature_of(kind)
    _check_options(kind, keywords, options)
    candidates: dict[str, Any] = {"spatial_dims": dimensions, "in_channels": wanted["channels"]}
    candidates |= dict.fromkeys(_CLASSES, wanted["classes"])
    if patch_size is not None:
        candidates |= dict.fromkeys(_IMAGE_SIZE, tuple(patch_size)[:dimensions])
    candidates |= _levels(keywords, options, wanted.get("width"))
    for setting, arguments in _reach(wanted).items():
        if not any(key in keywords for key in arguments):
            problem = f"monai:{kind.__name__} has no setting '{setting}', found {wanted[setting]!r}"
            raise UsageError("C3", f"network.{setting}", problem, "remove it, or say it in network.options")
        candidates = arguments | candidates
    complete = {key: value for key, value in candidates.items() if key in keywords} | dict(options)
    _check_complete(kind, keywords, complete)
    return complete


def _reach(wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each optional setting, the arguments (by MONAI's various names) that it can set."""
    reach: dict[str, dict[str, Any]] = {key: {} for key in wanted if key not in {"channels", "classes"}}
    if "width" in wanted:
        width = wanted["width"]
        reach["width"] = dict.fromkeys(_FIRST_WIDTH, width)
        reach["width"] |= {"features": tuple(width * scale for scale in (1, 1, 2, 4, 8, 1))}
        reach["width"] |= dict.fromkeys(("channels", "filters"), _widths(width, _LEVELS))
    if "dropout" in wanted:
        reach["dropout"] = dict.fromkeys(_DROPOUT, wanted["dropout"])
    return reach


def _widths(first: int, levels: int) -> tuple[int, ...]:
    return tuple(first * 2**level for level in range(levels))


def _levels(keywords: Signature, options: Mapping[str, Any], width: int | None) -> dict[str, Any]:
    """Arguments that have one entry for each resolution, as many as the user's strides say."""
    if "upsample_kernel_size" in keywords:
        strides = options.get("strides", (1, *(2,) * (_LEVELS - 1)))
        dynamic = {"strides": strides, "kernel_size": (3,) * len(strides), "upsample_kernel_size": tuple(strides[1:])}
        return dynamic if width is None else dynamic | {"filters": _widths(width, len(strides))}
    if "channels" in keywords and "strides" in keywords:
        strides = options.get("strides", (2,) * (_LEVELS - 1))
        return {"strides": strides, "channels": _widths(width or _WIDTH, len(strides) + 1)}
    return {}


def _check_options(kind: type[nn.Module], keywords: Signature, options: Mapping[str, Any]) -> None:
    for key in options:
        if key not in keywords:
            problem = f"monai:{kind.__name__} does not know '{key}'"
            raise UsageError("C1", f"network.options.{key}", problem, did_you_mean(key, keywords))
        if key in _FROM_THE_TASK:
            problem = f"the data decide it, found {options[key]!r}"
            raise UsageError("C3", f"network.options.{key}", problem, "remove it")
    level_option(options, "strides")


def _check_complete(kind: type[nn.Module], keywords: Signature, arguments: Mapping[str, Any]) -> None:
    for key, parameter in keywords.items():
        if parameter.default is parameter.empty and key not in arguments:
            problem = f"monai:{kind.__name__} needs a value and has no default"
            raise UsageError("C1", f"network.options.{key}", problem, f"add '{key}' to network.options")
