"""Normalization statistics inside a step: which ones are used, and which ones change, without flipping modes.

A layer such as BatchNorm does two things in one call: it normalizes with the batch's or with the running
statistics, and it updates the running ones. Methods that run a network more than once in a step often want only
one of the two. ``train()`` / ``eval()`` inside a step would reach hooks, dropout and every other user of the
network, so both helpers below are functional: the module that they are given is the same before and after.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


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


def running_statistics(module: nn.Module, *inputs: Tensor) -> Any:
    """Run ``module`` with its normalization layers as in evaluation and everything else as it is.

    Layers that keep running statistics use them and do not update them; dropout goes on in training mode. A
    head can thus be applied to a handful of samples whose batch statistics would mean nothing. Gradients reach
    the parameters and the inputs as in an ordinary call.

    Args:
        module: any network; normalization layers without running statistics behave as always.
        *inputs: what the module takes.

    Returns:
        What the module returns.
    """
    return _twin(module)(*inputs)


def _twin(module: nn.Module) -> nn.Module:
    """A shallow copy that shares every tensor with ``module``, its normalization layers in evaluation mode."""
    twin = copy.copy(module)
    twin.__dict__["_modules"] = {
        name: child if child is None else _twin(child) for name, child in module._modules.items()
    }
    if isinstance(module, _NormBase) and module.track_running_stats:
        twin.training = False
    return twin
