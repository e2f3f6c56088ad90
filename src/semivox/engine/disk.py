"""How much disk a run will fill, known before it starts, against what is free."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from lightning.fabric import Fabric
from torch import Tensor

from semivox.config import RunConfig
from semivox.engine.checkpoint import KEPT
from semivox.errors import ResourceError
from semivox.methods.base import Method

AT_ONCE = KEPT + 1
"""Checkpoints while a new one is written: the oldest goes when it is complete."""


def reserve_disk(fabric: Fabric, path: Path, method: Method, config: RunConfig) -> str:
    """Compare what a run will write with what is free on its disk.

    Args:
        fabric: the launched run.
        path: the run directory; what a stopped run has written there already is not counted again.
        method: freshly built.
        config: of the run.

    Returns:
        A sentence for the person who watches.

    Raises:
        ResourceError: C7, it will not fit.
    """
    # the first process writes, so it decides: all must come to the same end
    needed, free = fabric.broadcast((max(disk_bytes(method, config) - _present(path), 0), _free(path)))
    if needed > free:
        fewer = "raise engine.keep_weights_every, " if config.engine.keep_weights_every else ""
        raise ResourceError("C7", path, f"about {_gb(needed)} of disk are needed, {_gb(free)} are free",
                            f"{fewer}free disk space, or name a folder on another disk")
    return f"about {_gb(needed)} needed, {_gb(free)} free"


def disk_bytes(method: Method, config: RunConfig) -> int:
    """Bytes of the weights and checkpoints of a whole run; pictures and numbers are small beside them."""
    engine, validated = config.engine, bool(config.data.validation)
    deployed = _bytes(method.predictor().state_dict().values())
    moments = 1 if config.optimizer.name == "sgd" else 2
    trained = _bytes(weight for weight in method.parameters() if weight.requires_grad)
    state = _bytes(method.state_dict().values()) + moments * trained
    folders = AT_ONCE * (state + deployed * validated)
    if any(stage.pick == "best_validation" for stage in engine.stages):
        folders += AT_ONCE * state
    files = 1 + 2 * validated  # a better one is complete before it takes the place of the one before
    if engine.keep_weights_every:
        files += engine.steps // engine.keep_weights_every
    return folders + files * deployed


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _present(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*.safetensors")) if path.is_dir() else 0


def _free(path: Path) -> int:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
