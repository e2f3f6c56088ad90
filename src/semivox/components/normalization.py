"""Normalization statistics inside a step: which ones are used, and which ones change, without flipping modes.

A layer such as BatchNorm does two things in one call: it normalizes with the batch's or with the running
statistics, and it updates the running ones. Methods that run a network more than once in a step often want only
the first. ``train()`` / ``eval()`` inside a step would reach hooks, dropout and every other user of the network, so
the function below takes a module and leaves it as it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def frozen_statistics(module: nn.Module, *inputs: Tensor) -> Any:
    """Run ``module`` as it is (batch statistics in training mode) and leave all its buffers untouched.

    Gradients reach the parameters and the inputs as in an ordinary call.

    Args:
        module: any network; its running statistics and step counts are read, never written.
        *inputs: what the module takes.

    Returns:
        What the module returns.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return torch.func.functional_call(module, buffers, inputs)
