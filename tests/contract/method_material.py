"""What tests of methods are made of: small networks, synthetic scans, a plain training loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from semivox.methods import get_method
from semivox.methods.base import Method
from semivox.networks import network_factory
from semivox.seeding import seed_torch
from semivox.types import Batch, Progress, StepOutput, Task

SIDES = (32, 32, 16)
NETWORK = {2: "unet2d", 3: "vnet"}


def make_method(name: str, *, dimensions: int = 3, classes: int = 2, dropout: float = 0.0, **config: Any) -> Method:
    """A method on narrow networks, its weights the same each time; ``config`` overrides its configuration."""
    task = Task(dimensions=dimensions, channels=1, classes=classes, labeled_cases=2)
    make_network = network_factory(NETWORK[dimensions], task=task, width=4, dropout=dropout)
    torch.manual_seed(0)
    cls = get_method(name)
    return cls(cls.Config(**config), make_network, task).train()


def short_run(name: str, steps: int) -> dict[str, int]:
    """Overrides which scale every ``*_steps`` of a method from its published run to one of ``steps``."""
    cls = get_method(name)
    counts = {field.name: field.default for field in fields(cls.Config) if field.name.endswith("_steps")}
    defaults = {key: value for key, value in counts.items() if isinstance(value, int)}
    return {key: round(value * steps / cls.published_steps) for key, value in defaults.items()}


def make_batch(dimensions: int = 3, classes: int = 2, *, seed: int = 0, labeled: int = 2, unlabeled: int = 2) -> Batch:
    """Noisy scans with one ball per foreground class, each brighter than the one before; labeled scans first."""
    generator = torch.Generator().manual_seed(seed)
    sides = SIDES[:dimensions]
    axes = [torch.arange(side) for side in sides]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).float()
    labels = []
    for _ in range(labeled + unlabeled):
        label = torch.zeros(sides, dtype=torch.int64)
        for number in range(1, classes):
            share = 0.25 + 0.5 * torch.rand(dimensions, generator=generator)
            center = (share * torch.tensor(sides)).view(-1, *[1] * dimensions)
            radius = 4 + 2 * torch.rand((), generator=generator)
            label[(grid - center).square().sum(0) < radius**2] = number
        labels.append(label)
    label = torch.stack(labels)
    image = label.float() + 0.3 * torch.randn(label.shape, generator=generator)
    return Batch(image.unsqueeze(1), label[:labeled], torch.arange(labeled + unlabeled))


def progress_at(step: int, total: int = 10, stage: str = "main") -> Progress:
    """Where a run of one stage stands."""
    return Progress(stage=stage, step=step, total=total, run_step=step, run_total=total)


def optimizers_of(method: Method, lr: float = 0.01) -> dict[str, torch.optim.Optimizer]:
    """One optimizer per turn."""
    return {turn: torch.optim.SGD(method.parameters_for(turn), lr=lr, momentum=0.9) for turn in method.turns}


def train_step(
    method: Any, optimizers: dict[str, torch.optim.Optimizer], batch: Batch, progress: Progress
) -> dict[str, StepOutput]:
    """One step as the engine does it; ``method`` may be wrapped for several ranks."""
    inner = getattr(method, "module", method)
    outputs = {}
    for rank, turn in enumerate(inner.turns):
        seed_torch(7, progress.run_step, rank)
        outputs[turn] = method(batch, progress, turn)
        inner.zero_grad()
        outputs[turn].loss.backward()
        optimizers[turn].step()
    with torch.no_grad():
        inner.after_step(progress)
    return outputs


def train(method: Any, steps: int, *, seed: int = 0, lr: float = 0.01) -> Iterator[dict[str, StepOutput]]:
    """Train for some steps on a new batch each, yielding what each turn of a step returned."""
    inner = getattr(method, "module", method)
    optimizers = optimizers_of(inner, lr)
    dtype = next(inner.parameters()).dtype
    for step in range(steps):
        batch = make_batch(inner.task.dimensions, inner.task.classes, seed=1000 * seed + step)
        batch = batch._replace(image=batch.image.to(dtype))
        yield train_step(method, optimizers, batch, progress_at(step, steps))


def gradients(method: Method, batch: Batch, progress: Progress) -> dict[str, Tensor]:
    """Sum of the absolute gradients of all turns, for each parameter that got one."""
    found: dict[str, Tensor] = {}
    for turn in method.turns:
        method.zero_grad()
        seed_torch(7, progress.run_step)
        method(batch, progress, turn).loss.backward()
        for name, parameter in method.named_parameters():
            if parameter.grad is not None:
                found[name] = found.get(name, torch.zeros_like(parameter)) + parameter.grad.abs()
    method.zero_grad()
    return found
