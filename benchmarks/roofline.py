"""How close a training step of the V-Net comes to what the device can do.

    python benchmarks/roofline.py [--device cpu|cuda] [--patch 112,112,80] [--samples 4] [--compile]

Counted, not guessed: the operations of all convolutions of one step (forward and both gradients), and the bytes that
they alone must move (each reads its inputs and writes its output once, in bf16; normalizations, activations and losses
are taken as fused into them, which costs nothing here). Measured in the same run: the device's bf16 peak (a large
matrix product) and its copy bandwidth. The floor of the step is the larger one of both times, convolution by
convolution, summed. A row goes to ``benchmarks/results/roofline.csv``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contests.training import step_of
from race import timed
from rows import append
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from semivox.engine.environment import processor_name
from semivox.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "roofline.csv"
BF16_BYTES, REPEATS = 2, 5
COLUMNS = ("processor", "device", "torch", "patch", "samples", "compiled", "gflop", "moved_mb", "peak_tflops",
           "copy_gb_per_s", "floor_s", "step_s", "share_of_floor", "share_of_peak", "share_of_bandwidth")


class Count(TorchDispatchMode):
    """Operations and least bytes of each convolution that runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, float]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        packet = getattr(function, "overloadpacket", None)
        if packet in flop_registry and "convolution" in str(packet):
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=result)
            self.found.append((flops, BF16_BYTES * sum(each.numel() for each in _tensors((args, result)))))
        return result


def main() -> None:
    """Count, measure, print, append a row."""
    options = arguments()
    keep_freed_memory()
    patch = tuple(map(int, options.patch.split(",")))
    step = step_of(patch, options.samples, options.device, compiled=options.compile)
    with Count() as counted:
        step_of(patch, options.samples, options.device)()
    step()
    step_s = median(timed(step, options.device)[0] for _ in range(REPEATS))
    peak, bandwidth = matrix_peak(options.device), copy_bandwidth(options.device)
    flops, moved = (sum(values) for values in zip(*counted.found, strict=True))
    floor = sum(max(work / peak, size / bandwidth) for work, size in counted.found)
    processor = torch.cuda.get_device_name() if options.device == "cuda" else processor_name()
    row = (processor, options.device, torch.__version__, "x".join(map(str, patch)), options.samples, options.compile,
           flops / 1e9, moved / 1e6, peak / 1e12, bandwidth / 1e9, floor, step_s, floor / step_s,
           flops / step_s / peak, moved / step_s / bandwidth)
    for name, value in zip(COLUMNS, row, strict=True):
        print(f"{name:20s} {value:.4g}" if isinstance(value, float) else f"{name:20s} {value}")
    append(RESULTS, COLUMNS, [dict(zip(COLUMNS, row, strict=True))])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--patch", default="112,112,80")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def matrix_peak(device: str) -> float:
    """Operations a second of a large bf16 matrix product."""
    side = 8192 if device == "cuda" else 3072
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / fastest(lambda: a @ b, device)


def copy_bandwidth(device: str) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    source = torch.ones(1 << 30 if device == "cuda" else 1 << 28, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / fastest(lambda: target.copy_(source), device)


def fastest(work: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest repeat, after a warm-up."""
    timed(work, device)
    started, found = time.perf_counter(), [math.inf]
    while time.perf_counter() - started < 2:
        found.append(timed(work, device)[0])
    return min(found)


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


if __name__ == "__main__":
    main()
