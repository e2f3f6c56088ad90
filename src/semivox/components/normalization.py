"""Normalization statistics inside a step: which ones are used, and which ones change.

A layer such as BatchNorm does two things in one call: it normalizes with the batch's or with the running
statistics, and it updates the running ones. Methods that run a network more than once in a step often want only
the first. A mode that a method flips and forgets would reach every later call of the network, so both functions leave
the module as they found it. :func:`frozen_statistics` touches no mode: it runs on copies of the buffers.
:func:`evaluation_pass` does flip modes: it sets the training flag of each part for the one call, and restores each
afterwards, also after an error; meanwhile nothing else may run the module.
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


def evaluation_pass(module: nn.Module, *inputs: Tensor) -> Any:
    """Run ``module`` as if deployed: running statistics, no dropout, nothing updated. Every mode is as before after it.

    Args:
        module: any network, in any mixture of modes.
        *inputs: what the module takes.

    Returns:
        What the module returns; gradients reach parameters and inputs unless the caller switches them off.
    """
    modes = {part: part.training for part in module.modules()}
    try:
        for part in modes:
            part.training = False  # not ``eval()``: that is a method which networks may define as they like
        return module(*inputs)
    finally:
        for part, training in modes.items():
            part.training = training
