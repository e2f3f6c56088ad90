"""The contract of a method: ``forward`` is one training step, everything it remembers is its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from semivox.settings import Settings
from semivox.types import Stage, StepOutput

if TYPE_CHECKING:
    from semivox.networks import NetworkFactory
    from semivox.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Settings):
    """Base of every method's configuration.

    A field whose name ends in ``_steps`` counts steps of a run of ``Method.published_steps``; the configuration
    scales its default to shorter runs, so classes declare the published value.
    """

    name: str
    """Name in the table of methods, or ``package.module:Class``."""

    @property
    def largest_component(self) -> bool:
        """Whether predictions keep the largest component of each class alone: the protocol does not."""
        return False


class Method(nn.Module):
    """A semi-supervised (or supervised) way to train one or more networks.

    Subclasses build their parts in ``__init__`` and compute the loss of one step in ``forward``. All state is
    parameters and buffers. A method knows no device, optimizer, logger or file, never switches modes, and draws
    random numbers only from torch's default generator, which is seeded for it before each step.

    Args:
        config: an instance of the class's ``Config``.
        make_network: builds a network on each call; keyword arguments override the configured ones
            (``decoder="nearest"``). The networks' outputs have ``logits`` in fp32.
        task: dimensions, channels, classes and number of labeled cases.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    turns: ClassVar[tuple[str, ...]] = ("main",)
    """Each step has one ``forward``, backward and optimizer per turn, in this order."""
    published_steps: ClassVar[int] = 6000
    """Length of the published run, for which fields named ``*_steps`` are declared."""
    step_floors: ClassVar[Mapping[str, int]] = {}
    """Fields named ``*_steps`` that a shorter run does not scale below so many steps, or half of the run if less."""
    uses_unlabeled: ClassVar[bool] = True
    samples_multiple: ClassVar[int] = 1
    """Labeled patches of a step, and unlabeled ones, must each be a multiple of this."""
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    """Profile name to overrides of dotted configuration paths, such as ``{"method.teacher_mode": "train"}``.

    ``default`` holds what the method needs of the other sections (``{"optimizer.lr": 2.5e-3}``); the others are laid
    over it.
    """

    def __init__(self, config: MethodConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__()
        self.config = config
        self.task = task

    @classmethod
    def stages(cls, config: Any) -> tuple[Stage, ...]:
        """Return the stages of a run in order. Default: one, named ``main``.

        Args:
            config: an instance of the class's ``Config``.
        """
        return (Stage("main", 1.0),)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute the loss of one step; mixed precision and several devices act through this call alone."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(batch, progress, turn)")

    def after_step(self, progress: Progress) -> None:
        """Do what follows the optimizer's step (teachers, memories), without a graph. Default: nothing."""

    def after_stage(self, name: str) -> None:
        """Do what follows the last step of stage ``name`` (such as copying weights). Default: nothing."""

    def predictor(self) -> nn.Module:
        """Return what is deployed: a module from images (B, C, *space) to probabilities (B, K, *space).

        It shares the networks with the method: whoever calls ``eval()`` on it restores ``train()`` on the method.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predictor()")

    def observed(self) -> dict[str, nn.Module]:
        """Return what is worth a curve beside the predictor: name to a module from images to probabilities.

        The Dice of each on the validation cases is logged as ``<name>_dice``; ``pseudo_label`` is what the unlabeled
        scans are taught with. The modules share the networks with the method. Default: nothing.
        """
        return {}

    def parameters_for(self, turn: str) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups of a turn. Default: one group of all that requires a gradient.

        A group may set ``weight_decay`` or any other option of the optimizer; what it omits is configured.
        """
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]


def total(
    watch: Mapping[str, Tensor] | None = None, **terms: Tensor | tuple[float | Tensor, Tensor]
) -> StepOutput:
    """Add the terms of a loss and keep each of them for the log.

    Args:
        watch: scalar tensors to log beside the terms; they do not enter the loss.
        **terms: name to a scalar tensor, or to ``(weight, scalar tensor)``.

    Returns:
        The weighted sum, and detached scalars: each raw term under its name, its weight as ``<name>_weight``.
    """
    if not terms:
        raise ValueError("total() needs at least one term, got none")
    weighted: list[Tensor] = []
    log: dict[str, Tensor] = {name: value.detach().float() for name, value in (watch or {}).items()}
    for name, term in terms.items():
        weight, value = term if isinstance(term, tuple) else (None, term)
        log[name] = value.detach()
        if weight is None:
            weighted.append(value)
            continue
        # filled on the value's device: a copy from the host would make it wait
        log[f"{name}_weight"] = weight.detach() if isinstance(weight, Tensor) else torch.full_like(log[name], weight)
        weighted.append(weight * value)
    return StepOutput(sum(weighted[1:], weighted[0]), log)
