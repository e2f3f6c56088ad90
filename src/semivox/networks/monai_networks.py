"""Networks of MONAI by name, for methods that need logits only."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from semivox.errors import ResourceError, UsageError
from semivox.networks.blocks import initialize
from semivox.networks.monai_options import complete_arguments
from semivox.networks.output import Output
from semivox.networks.table import OTHER
from semivox.types import Task

_LAST_IS_BEST = ("BasicUNetPlusPlus",)
"""Networks which return several maps of full resolution, the deepest decoder last."""
_ALSO_NEEDS = {"SwinUNETR": ("einops",), "UNETR": ("einops",)}
"""Packages that MONAI itself treats as optional."""


class LogitsOnly(nn.Module):
    """A network of another library with our ``Output``: logits, no feature maps.

    Args:
        network: image (B, C, *space) to logits (B, K, *space), or to several maps of logits (deep supervision) as a
            list, or stacked along a new axis 1.
        classes: K.
        index: which one to use of those that have the image's size.
    """

    def __init__(self, network: nn.Module, classes: int, *, index: int = 0) -> None:
        super().__init__()
        self.network = network
        self.classes = classes
        self.index = index

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, *space).

        Raises:
            UsageError: the network returns no map of logits of the image's size with K channels.
        """
        expected = (image.shape[0], self.classes, *image.shape[2:])
        found = _maps(self.network(image), len(expected))
        fitting = [logits for logits in found if logits.shape == expected]
        if not fitting:
            shapes = ", ".join(str(tuple(logits.shape)) for logits in found) or "no logits"
            problem = f"{type(self.network).__name__} returned {shapes}, expected {expected}"
            raise UsageError("C3", "network.name", problem, "choose another network, other options or patch size")
        return Output(fitting[self.index].float(), (), ())


def monai_factory(
    name: str,
    *,
    task: Task,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    patch_size: Sequence[int] | None = None,
) -> Callable[..., nn.Module]:
    """Prepare the building of a class of ``monai.networks.nets``; see :func:`semivox.networks.network_factory`.

    Raises:
        UsageError: unknown, missing or refused options, or a setting that the class does not have.
        ResourceError: MONAI, or a package that this network needs, is not installed.
    """
    kind = _find_class(name)

    def arguments_for(wanted: Mapping[str, Any]) -> dict[str, Any]:
        return complete_arguments(kind, wanted, options, dimensions=task.dimensions, patch_size=patch_size)

    defaults = {"channels": task.channels, "classes": task.classes}
    arguments_for(defaults | _without_init(settings))

    def make_network(**overrides: Any) -> nn.Module:
        if overrides.get("decoder") == OTHER:  # these have one kind of decoder each
            del overrides["decoder"]
        wanted = defaults | _without_init(settings) | _without_init(overrides)
        network = _build(kind, arguments_for(wanted), options)
        initialize(network, overrides.get("init") or settings.get("init") or "default")
        return LogitsOnly(network, wanted["classes"], index=-1 if kind.__name__ in _LAST_IS_BEST else 0)

    return make_network


def _find_class(name: str) -> type[nn.Module]:
    missing = [package for package in ("monai", *_ALSO_NEEDS.get(name, ())) if find_spec(package) is None]
    if missing:
        packages = " ".join(missing)
        fix = f"pip install {packages}, or choose a network of Semivox"
        raise ResourceError("C8", "network.name", f"monai:{name} needs packages not installed here: {packages}", fix)
    from monai.networks import nets

    kind: type[nn.Module] | None = getattr(nets, name, None)
    if kind is None:
        version = importlib.metadata.version("monai")
        raise ResourceError("C8", "network.name", f"MONAI {version} has no {name}", "pip install --upgrade monai")
    return kind


def _without_init(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None and key != "init"}


def _build(kind: type[nn.Module], arguments: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    """Call the constructor; what it refuses becomes one line."""
    try:
        return kind(**arguments)
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = f"monai:{kind.__name__} refuses {dict(options)} ({reason.rstrip('.')})"
        raise UsageError("C2", "network.options", problem, "change the value that the reason names") from None


def _maps(result: object, axes: int) -> list[Tensor]:
    """All tensors with the logits' number of axes, in order; a stack of them is taken apart."""
    if isinstance(result, Tensor):
        return list(result.unbind(1)) if result.ndim == axes + 1 else [result]
    if isinstance(result, Sequence):
        return [logits for item in result for logits in _maps(item, axes)]
    return []
