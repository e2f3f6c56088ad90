"""The table of methods: a name, what to cite, and where the class is. Nothing here imports torch."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from semivox.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from semivox.methods.base import Method

PLUGIN_GROUP = "semivox.methods"
"""Entry point group under which other packages offer methods of their own."""


class Entry(NamedTuple):
    """What is known of a method without importing it."""

    target: str
    """``"package.module:Class"``."""
    title: str
    """Title of the paper."""
    authors: str
    venue: str
    year: int
    summary: str
    """One line for the list of methods."""


METHODS: dict[str, Entry] = {
    "supervised": Entry(
        target="semivox.methods.supervised:Supervised",
        title="V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
        authors="Milletari, Navab, Ahmadi",
        venue="3DV",
        year=2016,
        summary="Labeled scans only: the lower bound with few labels, the upper bound with all.",
    ),
    "mean_teacher": Entry(
        target="semivox.methods.mean_teacher:MeanTeacher",
        title="Mean teachers are better role models: Weight-averaged consistency targets improve semi-supervised "
        "deep learning results",
        authors="Tarvainen, Valpola",
        venue="NeurIPS",
        year=2017,
        summary="The student agrees with a weight-averaged teacher that sees the unlabeled scans with noise.",
    ),
    "cml": Entry(
        target="semivox.methods.cml:CML",
        title="Cross-View Mutual Learning for Semi-Supervised Medical Image Segmentation",
        authors="Wu, Wei, Chen, Ren, He, Pu",
        venue="ACM MM",
        year=2024,
        summary="Two networks in conflict about features teach each other on spliced unlabeled scans.",
    ),
    "caml": Entry(
        target="semivox.methods.caml:CAML",
        title="Correlation-Aware Mutual Learning for Semi-supervised Medical Image Segmentation",
        authors="Gao, Zhang, Ma, Li, Zhang",
        venue="MICCAI",
        year=2023,
        summary="Two networks teach each other; scans of a batch attend to each other, voxels to remembered ones.",
    ),
    "crln": Entry(
        target="semivox.methods.crln:CRLN",
        title="Leveraging Labelled Data Knowledge: A Cooperative Rectification Learning Network for Semi-supervised 3D "
        "Medical Image Segmentation",
        authors="Wang, Song, Liu, Ma, Yan, Carneiro",
        venue="Medical Image Analysis",
        year=2025,
        summary="Learned class prototypes correct a teacher's labels; unsure voxels move to a cautious class center.",
    ),
    "dualnet": Entry(
        target="semivox.methods.dualnet:DualNet",
        title="Semi-Supervised Medical Image Segmentation via Dual Networks",
        authors="Lu, Wu, Kateb, Chaddad",
        venue="arXiv",
        year=2025,
        summary="A V-Net and a ResNet: the better one of a step teaches the other, sure voxels teach unsure ones.",
    ),
}


def plugins() -> dict[str, str]:
    """Names and targets of the methods that installed packages offer; ours win where a name is taken."""
    found = {point.name: point.value for point in metadata.entry_points(group=PLUGIN_GROUP)}
    return {name: target for name, target in sorted(found.items()) if name not in METHODS}


def get_method(name: str) -> type[Method]:
    """Import the class of a method.

    Args:
        name: a key of ``METHODS``, the name of a plugin (entry point group ``semivox.methods``), or
            ``"package.module:Class"``, looked for in the installed packages and in the current folder.

    Raises:
        UsageError: the name is unknown, or what it points to cannot be imported or is not a method.
    """
    if name in METHODS:
        return _load(name, METHODS[name].target)
    if ":" in name:
        return _load(name, name)
    offered = plugins()
    if name in offered:
        return _load(name, offered[name])
    fix = f"{did_you_mean(name, [*METHODS, *offered])}; a class of your own is given as package.module:Class"
    raise UsageError("C1", f"method {name!r}", "unknown method", fix)


def _load(name: str, target: str) -> type[Method]:
    module_name, _, class_name = target.partition(":")
    subject = f"method {name!r}"
    if not module_name or not class_name.isidentifier():
        raise UsageError("C1", subject, f"{target!r} is not of the form package.module:Class", "write module:Class")
    try:
        module = _import(module_name)
    except Exception as error:  # foreign code may fail in any way while it is imported
        problem = f"module {module_name!r} cannot be imported ({type(error).__name__}: {error})"
        fix = f"make 'python -c \"import {module_name}\"' work in this environment and folder"
        raise UsageError("C1", subject, problem, fix) from None
    found = getattr(module, class_name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if _is_method(value)]
        fix = did_you_mean(class_name, known) if known else "define a subclass of semivox.methods.base.Method there"
        raise UsageError("C1", subject, f"module {module_name!r} has no {class_name!r}", fix)
    if not _is_method(found):
        problem = f"{target!r} is {found!r}, expected a subclass of semivox.methods.base.Method"
        raise UsageError("C1", subject, problem, "derive the class from Method")
    return found


def _is_method(value: object) -> TypeGuard[type[Method]]:
    from semivox.methods.base import Method

    return isinstance(value, type) and issubclass(value, Method) and value is not Method


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != module_name.partition(".")[0] or here in sys.path:
            raise
        sys.path.append(here)  # at the end: a file here never shadows an installed package
        importlib.invalidate_caches()
        return importlib.import_module(module_name)
