"""What both released steps share: their optimizer and the update of the weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def optimizer_of(modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """SGD of all weights, learning rate 0.01, momentum 0.9, weight decay 1e-4 (common.md 3, "Optimizer everywhere")."""
    weights = [parameter for module in modules for parameter in module.parameters()]
    return torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=1e-4)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Gradients set to zero and kept, backward, step: the way of these scripts at the time they were written."""
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
