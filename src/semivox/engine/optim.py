"""Optimizers by turn, and learning rates as functions of progress (so that nothing needs saving)."""

from __future__ import annotations

from typing import Any

import torch

from semivox.config import OptimizerConfig, RunConfig
from semivox.types import Progress


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over a method's parameter groups; a group's own ``weight_decay`` or ``lr_scale`` holds."""
    groups = [{"lr_scale": 1.0, **group} for group in groups]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)


def learning_rate(run: RunConfig, progress: Progress) -> float:
    """The learning rate of a step; the schedule runs over the stage, which may have one of its own.

    ``constant``: lr. ``step``: lr * factor^(t // interval). ``poly``: lr * (1 - t/T)^power.
    """
    config = run.optimizer
    schedules = {stage.name: stage.schedule for stage in run.engine.stages}
    schedule = schedules.get(progress.stage) or config.schedule
    if schedule == "step":
        return config.lr * config.decay_factor ** (progress.step // config.decay_every_steps)
    if schedule == "poly":
        return float(config.lr * (1 - progress.fraction) ** config.poly_power)
    return config.lr


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as named tensors: ``<parameter index>.<entry>``."""
    tensors = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        for entry, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{index}.{entry}"] = torch.as_tensor(value)
    return tensors


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave, in the parameters' own memory format."""
    parameters = _parameters(optimizer)
    for name, value in tensors.items():
        index, entry = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][entry] = value


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
