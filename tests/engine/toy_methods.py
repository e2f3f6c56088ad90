"""Methods that show what the engine does with them; tests name them ``toy_methods:<class>``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semivox.methods.base import Method, MethodConfig, total
from semivox.types import Batch, Progress, Stage, StepOutput


@dataclass(frozen=True, kw_only=True)
class ToyConfig(MethodConfig):
    """What goes wrong, and when."""

    fault: str = ""
    fault_step: int = -1


class Toy(nn.Module):
    """One convolution, its probabilities, and a record of what it has seen."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(channels, classes, 1)
        self.dtypes: list[torch.dtype] = []

    def forward(self, image: Tensor) -> Tensor:
        logits = self.convolution(image)
        self.dtypes.append(logits.dtype)
        return logits.float().softmax(1)


class Staged(Method):
    """Two stages; keeps what the engine tells it."""

    Config = ToyConfig
    told: list[Any] = []

    @classmethod
    def stages(cls, config: Any) -> tuple[Stage, ...]:
        return (Stage("first", 0.4), Stage("second", 0.6))

    def __init__(self, config, make_network, task) -> None:
        super().__init__(config, make_network, task)
        self.network = Toy(task.channels, task.classes)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        self.told.append(("forward", turn, progress))
        loss = self.network(batch.image)[:, 1].mean()
        bad = loss
        if progress.run_step == self.config.fault_step:
            if self.config.fault == "term" or self.config.fault == f"rank {os.environ.get('LOCAL_RANK')}":
                bad = loss * float("nan")
            if self.config.fault == "gradient":
                bad = loss + (self.network.convolution.bias.sum() * 0).sqrt()  # 0, with a gradient that is not finite
        return total(good=loss, bad=(1.0, bad))

    def after_step(self, progress: Progress) -> None:
        self.told.append(("after_step", progress, torch.is_grad_enabled()))

    def after_stage(self, name: str) -> None:
        self.told.append(("after_stage", name))

    def predictor(self) -> nn.Module:
        return self.network


class TwoTurns(Method):
    """Two numbers, each with a turn of its own; each turn's loss reaches the other's number as well."""

    Config = ToyConfig
    turns = ("first", "second")
    uses_unlabeled = False

    def __init__(self, config, make_network, task) -> None:
        super().__init__(config, make_network, task)
        self.first, self.second = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        mine, other = (self.first, self.second) if turn == "first" else (self.second, self.first)
        return total(**{turn: (mine.square() + 10 * other).sum()})

    def parameters_for(self, turn: str) -> list[dict[str, Any]]:
        return [{"params": [getattr(self, turn)], "weight_decay": 0.0}]

    def predictor(self) -> nn.Module:
        holder = nn.Module()
        holder.first, holder.second = self.first, self.second
        return holder


class Averaging(Method):
    """A loss that is a mean over samples, without normalization: batches can be split and put together."""

    Config = ToyConfig

    def __init__(self, config, make_network, task) -> None:
        super().__init__(config, make_network, task)
        self.network = nn.Conv3d(task.channels, task.classes, 3)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        return total(square=self.network(batch.image).square().mean())

    def predictor(self) -> nn.Module:
        return self.network


class Chance(Method):
    """A loss that is a draw from torch's default generator."""

    Config = ToyConfig
    uses_unlabeled = False
    turns = ("first", "second")

    def __init__(self, config, make_network, task) -> None:
        super().__init__(config, make_network, task)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        return total(**{turn: torch.rand(()) + 0 * self.weight.sum()})

    def predictor(self) -> nn.Module:
        return nn.Identity()


class Telling(Staged):
    """Writes down which process asks for what is deployed, once training has begun."""

    def predictor(self) -> nn.Module:
        if self.told:
            with open(os.environ["ASKED_FOR_PREDICTOR"], "a", encoding="utf-8") as stream:
                stream.write(os.environ.get("LOCAL_RANK", "0") + "\n")
        return super().predictor()
