"""How much memory a run will need, known before it starts, against what the machine has.

Forward passes on few small patches are measured and scaled to the run's patch and batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from semivox.config import RunConfig
from semivox.data.loading import BATCHES_AHEAD
from semivox.errors import ResourceError
from semivox.inference.precision import autocast
from semivox.memory import available_memory_bytes, keep_freed_memory, peak_memory_mb
from semivox.methods import get_method
from semivox.methods.base import Method
from semivox.networks.patches import required_multiple
from semivox.seeding import seed_torch
from semivox.types import Batch, Progress

LIVE_MAPS = 4
"""Tensors as large as the largest saved one that exist beside the saved ones during the backward pass."""
KEPT_SHARE = 1.5
"""Memory with freed areas kept over memory without: they do not always fit the next tensor."""
FEW_SAMPLES = 8
"""Of a batch that is twice as large or more only so many samples are measured; the others need as much each."""
SURE_SHARE = 1.3
"""An estimate this many times what is free is refused; one between may be wrong, and is only warned of."""

WORKER_BYTES = 150 << 20
"""What a loader's worker process has for itself, beside the batches."""


class Footprint(NamedTuple):
    """What a run needs beside what the process has already."""

    state: int
    """Bytes of weights, gradients and the optimizer's moments."""
    step: int
    """Bytes of one forward and backward pass on one batch: what the graph keeps, and what is in work."""
    loading: int = 0
    """Bytes of the loader's workers and of the batches that they read ahead, always in main memory."""

    @property
    def total(self) -> int:
        """Bytes, if freed memory goes back to the system."""
        return self.state + self.step + self.loading

    @property
    def kept(self) -> int:
        """Bytes, if freed memory stays with the process."""
        return self.total + int((KEPT_SHARE - 1) * self.step)


def footprint(method: Method, config: RunConfig, precision: str) -> Footprint:
    """Estimate the memory of a step of a freshly built method on the CPU; its weights stay, its memories do not.

    The forward pass runs on few and small patches of two sizes, and all tensors that its graph keeps are counted. What
    grows with the patch is scaled to the run's patch, and both to the run's batch.

    Raises:
        Exception: whatever the method raises on a smaller patch, such as a network of one image size.
    """
    patch = config.data.patch_size[: method.task.dimensions]
    small = [min(side, 2 * required_multiple(config.network.name, config.network.options)) for side in patch]
    double = list(small)
    longest = max(range(len(patch)), key=lambda axis: patch[axis])
    double[longest] = min(2 * small[longest], patch[longest])
    sizes = (small, double) if small != double else (small,)
    few, times = _few_samples(config)
    counts = {math.prod(size): _saved(method, few, size, precision) for size in sizes}
    grown = [_line(dict(zip(counts, values, strict=True)), math.prod(patch))
             for values in zip(*counts.values(), strict=True)]
    weights = sum(weight.numel() * weight.element_size() for weight in method.parameters())
    moments = 2 if config.optimizer.name == "sgd" else 3
    return Footprint(weights * (1 + moments), int(times * (grown[0] + LIVE_MAPS * grown[1])),
                     _loading(config, method))


def reserve_memory(fabric: Fabric, method: Method, config: RunConfig, precision: str) -> str:
    """Set how this process allocates, by what the run needs and the machine has.

    On a CPU freed memory is kept for the next tensor if there is room for that: steps are faster so.

    Args:
        fabric: the launched run.
        method: freshly built, on the CPU; used up.
        config: of the run.
        precision: "fp32" or "bf16".

    Returns:
        A sentence for the person who watches.

    Raises:
        ResourceError: C9, the memory that is free will not do.
    """
    on_gpu, own = fabric.device.type == "cuda", int(peak_memory_mb() * 2**20)
    needed: Footprint | str
    try:
        needed = footprint(method, config, precision)
    except Exception as error:  # of a method or network that takes no other patch: the run itself decides
        needed = f"{type(error).__name__}: {error}"
    # the first process decides for all: they must come to the same end
    needed, free = fabric.broadcast((needed, _free(fabric.device)))
    if isinstance(needed, str) or free is None:
        keep_freed_memory()
        return f"not estimated ({'the system does not say what is free' if free is None else needed})"
    free //= 1 if on_gpu else config.engine.devices
    least = needed.state + needed.step if on_gpu else needed.total
    if least > SURE_SHARE * free:
        raise ResourceError("C9", "data", f"a step on {_sides(config)} needs about {_gb(least)}, {_gb(free)} are free",
                            _remedy(config, needed, free, on_gpu))
    own = 0 if on_gpu else own
    if least > free:
        return f"{_said(least, free, own)}: it may not do. {_remedy(config, needed, free, on_gpu).capitalize()}"
    if on_gpu or needed.kept > free:
        return _said(least, free, own) + ("" if on_gpu else ", too little for the faster allocation")
    keep_freed_memory()
    return _said(needed.kept, free, own)


def _said(needed: int, free: int, own: int) -> str:
    """In words; on a CPU with what the process has had before, as the peak at the end counts it."""
    if not own:
        return f"about {_gb(needed)} needed on the GPU, {_gb(free)} free there"
    return f"about {_gb(needed + own)} in all, {_gb(own)} of it taken, {_gb(free)} free"


def _free(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory_bytes()


def _sides(config: RunConfig) -> str:
    data = config.data
    return f"{data.labeled_per_batch + data.unlabeled_per_batch} patches of {'x'.join(map(str, data.patch_size))}"


def _remedy(config: RunConfig, needed: Footprint, free: int, on_gpu: bool) -> str:
    """The same batch in as few parts as will fit, where the method allows it; else what else may help."""
    smaller = "take a smaller data.patch_size or network.width"
    asked = {name: getattr(config.data, name) for name in ("labeled_per_batch", "unlabeled_per_batch")}
    multiple = get_method(config.method.name).samples_multiple
    fixed = needed.state + (0 if on_gpu else needed.loading)  # the loader reads all parts of a batch ahead
    for parts in range(2, math.gcd(*asked.values()) // multiple + 1):
        whole = all(number % (parts * multiple) == 0 for number in asked.values())
        if whole and fixed + needed.step // parts <= free:
            each = " ".join(f"--set data.{name}={number // parts}" for name, number in asked.items() if number)
            return f"{each} --set engine.accumulate={parts * config.engine.accumulate}, or {smaller}"
    return smaller


def _few_samples(config: RunConfig) -> tuple[RunConfig, float]:
    """The run with a batch of few samples, in about the same proportion; and how much larger its own batch is."""
    data, multiple = config.data, get_method(config.method.name).samples_multiple
    samples = data.labeled_per_batch + data.unlabeled_per_batch
    parts = max(1, samples // FEW_SAMPLES)
    labeled, unlabeled = (multiple * math.ceil(number / parts / multiple)
                          for number in (data.labeled_per_batch, data.unlabeled_per_batch))
    few = replace(config, data=replace(data, labeled_per_batch=labeled, unlabeled_per_batch=unlabeled))
    return (few, samples / (labeled + unlabeled)) if parts > 1 else (config, 1.0)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _loading(config: RunConfig, method: Method) -> int:
    data = config.data
    voxels = math.prod(data.patch_size)
    samples = data.labeled_per_batch + data.unlabeled_per_batch
    batch = 4 * samples * method.task.channels * voxels + 8 * data.labeled_per_batch * voxels
    return data.workers * (WORKER_BYTES + BATCHES_AHEAD * batch) + config.engine.accumulate * batch


def _line(points: dict[int, int], at: int) -> float:
    """The value at ``at`` of the line through two points, or of the only point."""
    (first, low), (second, high) = min(points.items()), max(points.items())
    return low if first == second else low + (high - low) * (at - first) / (second - first)


def _saved(method: Method, config: RunConfig, patch: Sequence[int], precision: str) -> tuple[int, int]:
    """Bytes of all tensors that the graph of a forward pass keeps, and of the largest of them."""
    sizes: dict[int, int] = {}
    weights = {weight.data_ptr() for weight in method.parameters()}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return value

    stage = config.engine.stages[-1]
    progress = Progress(stage.name, stage.steps - 1, stage.steps, config.engine.steps - 1, config.engine.steps)
    found = (0, 0)
    for turn in method.turns:
        sizes.clear()
        with torch.random.fork_rng(devices=()), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            seed_torch(config.seed, "footprint")
            with autocast(precision, "cpu"):
                output = method(noise_batch(method, config, patch), progress, turn)
            found = max(found, (sum(sizes.values()), max(sizes.values(), default=0)))
            del output
    return found


def noise_batch(method: Method, config: RunConfig, patch: Sequence[int]) -> Batch:
    """A batch of noise in which every class occurs."""
    labeled, task = config.data.labeled_per_batch, method.task
    samples = labeled + config.data.unlabeled_per_batch
    label = torch.arange(labeled * math.prod(patch)).reshape(labeled, *patch) % task.classes
    return Batch(torch.randn(samples, task.channels, *patch), label, torch.zeros(samples, dtype=torch.int64))
