"""Sliding windows over a scan of any size with bounded memory.

Windows come in order along one axis (the sweep axis). Weighted probabilities are summed in a ring that is one patch
long on that axis; when all windows of a plane are through, the plane is normalized, handed on and its place reused.
So memory grows with classes x patch x cross-section, not with classes x volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from semivox.inference.evaluation import evaluation_twin
from semivox.inference.precision import autocast
from semivox.inference.scratch import MEMORY_LIMIT_BYTES, scratch_array
from semivox.inference.windows import Window, axis_weight_sum, padding, window_corners, window_importance


class Execution(NamedTuple):
    """How windows are computed."""

    batch_size: int = 4
    """Windows per forward pass."""
    precision: str = "fp32"
    """"fp32", "bf16" or "auto"."""
    flips: tuple[int, ...] = ()
    """Axes whose flips are averaged over, all combinations: (0, 1) costs four passes."""
    device: torch.device | str = "cpu"
    """Where the network already is."""


class Slab(NamedTuple):
    """Finished probabilities of some neighboring planes."""

    axis: int
    start: int
    probabilities: Tensor
    """(K, X, Y, Z) float32, full size except along ``axis``; valid until the next slab is asked for."""

    def region(self) -> tuple[slice, slice, slice]:
        """Where it lies in the scan."""
        stop = self.start + self.probabilities.shape[1 + self.axis]
        return _along(self.axis, slice(self.start, stop))


class Prediction(NamedTuple):
    """What the network says about a scan."""

    labels: np.ndarray
    """(X, Y, Z), uint8 for up to 256 classes, else uint16: the most probable class, decided in float32."""
    probabilities: np.ndarray | None = None
    """(K, X, Y, Z) float16, if they were asked for; a large array lies in a temporary file, not in memory."""


def predict(network: nn.Module, image: np.ndarray, window: Window, *, execution: Execution | None = None,
            probabilities: bool = False) -> Prediction:
    """Most probable class of each voxel, and the probabilities of all classes if asked for.

    Labels never depend on whether probabilities are kept: they are taken before these are rounded for storage.

    Args:
        network: (B, C, *patch) image -> (B, K, *patch) probabilities, on ``execution.device``. A twin of it
            in evaluation mode is used; it is not touched itself.
        image: (C, X, Y, Z) float32, as prepared for training.
        window: patch size, strides and weights.
        execution: batch size, precision, flips, device.
        probabilities: keep them.

    Raises:
        FloatingPointError: when the network returns NaN or infinity.
        ResourceError: when the disk has no room for the probabilities.
    """
    labels, kept = np.zeros(image.shape[1:], np.uint8), None
    for slab in probability_slabs(network, image, window, execution=execution):
        classes = len(slab.probabilities)
        if classes > 256 and labels.dtype == np.uint8:
            labels = labels.astype(np.uint16)
        labels[slab.region()] = slab.probabilities.argmax(0).cpu().numpy()
        if probabilities and kept is None:
            kept = scratch_array((classes, *image.shape[1:]), np.float16)
        if kept is not None:
            kept[(slice(None), *slab.region())] = slab.probabilities.cpu().numpy()
    return Prediction(labels, kept)


def predict_labels(network: nn.Module, image: np.ndarray, window: Window, *,
                   execution: Execution | None = None) -> np.ndarray:
    """The labels of :func:`predict` alone."""
    return predict(network, image, window, execution=execution).labels


def probability_slabs(network: nn.Module, image: np.ndarray, window: Window, *,
                      execution: Execution | None = None) -> Iterator[Slab]:
    """Weighted means of the windows' probabilities, in slabs that follow each other and cover the scan once."""
    execution = execution or Execution()
    before_after = padding(image.shape[1:], window.patch_size)
    if any(map(any, before_after)):
        image = np.pad(image, ((0, 0), *before_after))
    size = image.shape[1:]
    axis = min(range(3), key=lambda a: window.patch_size[a] / size[a])
    all_corners = window_corners(size, window, slowest_axis=axis)
    ring: _Ring | None = None
    network = evaluation_twin(network, precision=execution.precision, device=execution.device)
    for first in range(0, len(all_corners), execution.batch_size):
        corners = all_corners[first : first + execution.batch_size]
        probabilities = _forward(network, _cut(image, corners, window), window, execution)
        if ring is None:
            ring = _Ring(size, probabilities.shape[1], window, axis=axis, device=probabilities.device)
        for corner, window_probabilities in zip(corners, probabilities, strict=True):
            yield from _unpadded(ring.finish(corner[axis]), before_after)
            ring.add(corner, window_probabilities)
    if ring is not None:
        yield from _unpadded(ring.finish(size[axis]), before_after)


class _Ring:
    """Sums of weighted probabilities for the planes that windows still reach; plane p has place p % patch."""

    def __init__(self, size: tuple[int, ...], classes: int, window: Window, *, axis: int, device: torch.device) -> None:
        self.axis, self.length, self.finished = axis, window.patch_size[axis], 0
        shape = [classes, *size]
        shape[1 + axis] = self.length
        if device.type == "cpu":
            self.sums = torch.from_numpy(scratch_array(tuple(shape), np.float32))
        else:
            self.sums = _device_zeros(shape, device)
        importance = None if window.importance == "uniform" else window_importance(window.patch_size, window.importance)
        self.weight = None if importance is None else torch.from_numpy(importance).to(self.sums.device)
        self.totals = [torch.from_numpy(axis_weight_sum(*sizes, kind=window.importance)).to(self.sums.device)
                       for sizes in zip(size, window.patch_size, window.strides, strict=True)]
        self.patch_size = window.patch_size

    def add(self, corner: tuple[int, int, int], probabilities: Tensor) -> None:
        """Add one window; the planes before it must be finished."""
        values = probabilities.to(self.sums.device)
        target = [slice(None), *(slice(c, c + p) for c, p in zip(corner, self.patch_size, strict=True))]
        done = 0
        for places in self._places(corner[self.axis], corner[self.axis] + self.length):
            target[1 + self.axis] = places
            count = places.stop - places.start
            part = values.narrow(1 + self.axis, done, count)
            if self.weight is None:
                self.sums[tuple(target)].add_(part)
            else:
                self.sums[tuple(target)].addcmul_(part, self.weight.narrow(self.axis, done, count))
            done += count

    def finish(self, stop: int) -> Iterator[Slab]:
        """Hand on the planes before ``stop`` and free their places."""
        for places in self._places(self.finished, stop):
            count = places.stop - places.start
            part = self.sums[(slice(None), *_along(self.axis, places))]
            for axis, total in enumerate(self.totals):
                weight = total[self.finished : self.finished + count] if axis == self.axis else total
                part /= weight.reshape([-1 if a == axis else 1 for a in range(3)])
            yield Slab(self.axis, self.finished, part)
            part.zero_()
            self.finished += count

    def _places(self, start: int, stop: int) -> Iterator[slice]:
        """The places of planes ``start`` to ``stop``: one run, or two where the ring closes."""
        while start < stop:
            place = start % self.length
            count = min(stop - start, self.length - place)
            yield slice(place, place + count)
            start += count


def _device_zeros(shape: list[int], device: torch.device) -> Tensor:
    """Zeros beside the network if they leave it most of the GPU's free memory, else in main memory."""
    needed = 4 * int(np.prod(shape, dtype=np.int64))
    if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] // 4:
        return torch.from_numpy(scratch_array(tuple(shape), np.float32, memory_limit_bytes=4 * MEMORY_LIMIT_BYTES))
    return torch.zeros(shape, device=device)


def _cut(image: np.ndarray, corners: list[tuple[int, int, int]], window: Window) -> np.ndarray:
    """Windows as a batch (B, C, X, Y, Z) float32, for slices (B, C, X, Y)."""
    slices = [tuple(slice(c, c + p) for c, p in zip(corner, window.patch_size, strict=True)) for corner in corners]
    patches = np.stack([image[(slice(None), *region)] for region in slices]).astype(np.float32, copy=False)
    return patches[..., 0] if window.dimensions == 2 else patches


@torch.inference_mode()
def _forward(network: nn.Module, patches: np.ndarray, window: Window, execution: Execution) -> Tensor:
    """Probabilities of a batch, mean over flips, (B, K, X, Y, Z) float32."""
    layout = torch.channels_last if window.dimensions == 2 else torch.channels_last_3d
    images = torch.from_numpy(patches).to(execution.device, memory_format=layout)
    axes = [axis for axis in execution.flips if axis < window.dimensions]
    flips = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))
    total: Tensor | None = None
    for flip in flips:
        dims = [2 + axis for axis in flip]
        with autocast(execution.precision, execution.device):
            probabilities = network(images.flip(dims) if dims else images)
        probabilities = probabilities.float().flip(dims) if dims else probabilities.float()
        total = probabilities if total is None else total + probabilities
    if total is None or not torch.isfinite(total).all():
        raise FloatingPointError("the network returned NaN or infinity")
    mean = total / len(flips) if len(flips) > 1 else total
    return mean[..., None] if window.dimensions == 2 else mean


def _unpadded(slabs: Iterator[Slab], before_after: tuple[tuple[int, int], ...]) -> Iterator[Slab]:
    """The same without the voxels that padding added (the sweep axis is padded only if it is one patch long)."""
    for axis, start, probabilities in slabs:
        keep = [slice(before, probabilities.shape[1 + a] - after) for a, (before, after) in enumerate(before_after)]
        inner = probabilities[(slice(None), *keep)]
        if inner.shape[1 + axis]:
            yield Slab(axis, max(start - before_after[axis][0], 0), inner)


def _along(axis: int, part: slice) -> tuple[slice, slice, slice]:
    x, y, z = (part if a == axis else slice(None) for a in range(3))
    return x, y, z
