"""Where the time of a training step of the V-Net goes, three ways: a picture for the performance page.

    python benchmarks/profile_step.py [--quick] [--out docs/benchmarks/profile-step.png]

Each way runs in a process of its own under ``torch.profiler``, two steps after a warm-up; the self time of all
operators is added by group.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

from contests import training
from race import Setup, Side

WAYS = (Side("eager fp32,\nplain layout", training.plain), Side("eager bf16,\nchannels last", training.eager_bf16),
        Side("Semivox", training.ours))
GROUPS = {
    "convolutions, gradients": ("convolution_backward",),
    "convolutions, forward": ("convolution", "conv3d"),
    "normalization": ("batch_norm",),
    "activations": ("threshold", "relu", "clamp_min"),
    "copies and additions": ("aten::add", "copy_", "aten::mul", "fill_", "zero_", "aten::cat", "aten::where"),
    "loss": ("softmax", "nll_loss", "aten::sum", "pow", "div"),
}
OTHER = "other"
COLORS = ("#0072B2", "#56B4E9", "#E69F00", "#F0E442", "#009E73", "#CC79A7", "#999999")
STEPS = 2


def main() -> None:
    """Measure each way, print the shares, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="patches of 64x64x48")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/profile-step.png"))
    options = parser.parse_args()
    setup = Setup(Path("scratch/speed"), quick=options.quick)
    found = {}
    for way in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[way.name] = pool.apply(seconds_by_group, (way, setup))
        print(way.name.replace("\n", " "), {name: round(value, 3) for name, value in found[way.name].items()},
              f"{sum(found[way.name].values()):.2f} s")
    draw(found, options.out)


def seconds_by_group(way: Side, setup: Setup) -> dict[str, float]:
    """Seconds of a step by group of operators."""
    from torch.profiler import ProfilerActivity, profile

    work = way.prepare(setup)
    for _ in range(2):
        work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            work()
    seconds = dict.fromkeys((*GROUPS, OTHER), 0.0)
    for event in profiler.key_averages():
        seconds[group_of(event.key)] += event.self_cpu_time_total / 1e6 / STEPS
    return seconds


def group_of(operator: str) -> str:
    """The first group that has a part of the operator's name."""
    return next((group for group, parts in GROUPS.items() if any(part in operator for part in parts)), OTHER)


def draw(found: dict[str, dict[str, float]], path: Path) -> None:
    """Stacked bars, one for each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    left: dict[str, float] = dict.fromkeys(found, 0.0)
    for group, color in zip((*GROUPS, OTHER), COLORS, strict=True):
        widths: list[Any] = [seconds[group] for seconds in found.values()]
        axes.barh(list(found), widths, left=list(left.values()), color=color, label=group, edgecolor="white")
        left = {name: value + width for (name, value), width in zip(left.items(), widths, strict=True)}
    for name, value in left.items():
        axes.text(value, name, f" {value:.1f} s", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("seconds of a step: forward, backward, update")
    axes.set_xlim(0, 1.08 * max(left.values()))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
