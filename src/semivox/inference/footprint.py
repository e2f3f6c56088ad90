"""How much memory the windows of a scan will need, known before the first one, against what is free."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from semivox.errors import ResourceError
from semivox.inference.precision import resolve_precision
from semivox.inference.scratch import MEMORY_LIMIT_BYTES
from semivox.inference.sliding import Execution
from semivox.inference.windows import Window, padding
from semivox.memory import available_memory_bytes, kept_memory_bytes

KEPT_SHARE = 1.25
"""Memory for the windows with freed areas kept over memory without: they do not always fit the next map."""


class Footprint(NamedTuple):
    """What predicting a scan that is read needs beside what the process has already, in bytes."""

    scan: int
    """Padded copy, label map and sums of probabilities; the sums count only while they lie in memory."""
    weights: int
    """Copies of the weights in the precision of the passes."""
    window: int
    """Maps and probabilities of one window, at most at a time."""

    def total(self, batch_size: int) -> int:
        """Bytes with this number of windows in a pass."""
        return self.scan + self.weights + int(KEPT_SHARE * batch_size * self.window)


def footprint(network: nn.Module, shape: tuple[int, ...], window: Window, *, execution: Execution,
              classes: int) -> Footprint | None:
    """Estimate what :func:`semivox.inference.sliding.predict` will need.

    The network runs once on a window without memory (PyTorch's ``meta`` device), and the maps that exist at the same
    time are counted.

    Args:
        network: image (B, C, *patch) to probabilities (B, K, *patch).
        shape: (C, X, Y, Z) of the prepared scan.
        window: patch size, strides and weights.
        execution: precision, flips and device.
        classes: K.

    Returns:
        None where the network has no weights, or cannot run without memory, for example because it looks at values.
    """
    if next(network.parameters(), None) is None:
        return None
    channels, *sides = shape
    before_after = padding(tuple(sides), window.patch_size)
    padded = [side + sum(added) for side, added in zip(sides, before_after, strict=True)]
    axis = min(range(3), key=lambda a: window.patch_size[a] / padded[a])
    cross_section = math.prod(padded) // padded[axis]
    sums = 4 * classes * cross_section * window.patch_size[axis]
    scan = math.prod(padded) + (4 * channels * math.prod(padded) if padded != sides else 0)
    scan += 8 * cross_section * window.patch_size[axis]  # the finished planes' classes as int64
    half = resolve_precision(execution.precision, execution.device) == "bf16"
    try:
        maps = _peak_of_maps(network, (1, channels, *window.patch_size[: window.dimensions]),
                             torch.bfloat16 if half else torch.float32)
    except Exception:  # whatever a network says that looks at values: the prediction itself decides
        return None
    voxels = math.prod(window.patch_size)
    answers = 4 * voxels * (2 * channels + (3 if execution.flips else 2) * classes)
    weights = sum(weight.numel() for weight in network.parameters()) * (2 if half else 4)
    return Footprint(scan + (sums if sums <= MEMORY_LIMIT_BYTES else 0), weights, maps + answers)


def require_memory(needed: Footprint, execution: Execution, subject: str) -> None:
    """Refuse to start what will not fit.

    Args:
        needed: what the scan needs.
        execution: number of windows in a pass, and device.
        subject: the scan's name.

    Raises:
        ResourceError: C9, the windows do not fit; P5, the scan itself does not.
    """
    device = torch.device(execution.device)
    free: int | None
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + reserved
        needed = needed._replace(scan=0)  # in main memory, or on the GPU if there is room
    else:
        free = available_memory_bytes()
        free = None if free is None else free + kept_memory_bytes()
    if free is None or needed.total(execution.batch_size) <= free:
        return
    said = f"predicting it needs about {needed.total(execution.batch_size) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    fitting = next((size for size in range(execution.batch_size - 1, 0, -1) if needed.total(size) <= free), None)
    if fitting is not None:
        raise ResourceError("C9", subject, said, f"use --batch {fitting}")
    if device.type == "cuda":
        raise ResourceError("C9", subject, said, "use --device cpu")
    raise ResourceError("P5", subject, said, "free memory, predict on a larger machine, or crop the scan")


def _peak_of_maps(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Largest number of bytes of inputs and outputs of the layers that exist at the same time."""
    tensors = {name: torch.empty_like(tensor, device="meta", dtype=dtype if tensor.is_floating_point() else None)
               for name, tensor in chain(network.named_parameters(), network.named_buffers())}
    meter = _Meter()
    with torch.inference_mode(), meter.watching(network):
        functional_call(network, tensors, (torch.empty(shape, dtype=dtype, device="meta"),))
    return meter.peak


class _Meter:
    """Counts the bytes of tensors from the layer that they are first seen at until they are gone."""

    def __init__(self) -> None:
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """See what goes into and comes out of all layers without layers inside."""
        leaves = [module for module in network.modules() if not next(module.children(), None)]
        handles = [leaf.register_forward_pre_hook(lambda _, inputs: self._see(inputs)) for leaf in leaves]
        handles += [leaf.register_forward_hook(lambda _, __, output: self._see((output,))) for leaf in leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see(self, values: tuple[Any, ...]) -> None:
        for value in values:
            if isinstance(value, Tensor) and id(value) not in self.alive:
                self.alive[id(value)] = value.numel() * value.element_size()
                self.now += self.alive[id(value)]
                weakref.finalize(value, self._forget, id(value))
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self.alive.pop(key)
