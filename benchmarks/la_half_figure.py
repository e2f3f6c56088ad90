"""Draw docs/benchmarks/la-half.png: learning curves of all runs in results/la_half_curves.json.

python benchmarks/la_half_figure.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CURVES = Path(__file__).parent / "results" / "la_half_curves.json"
FIGURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "la-half.png"
COLORS = {"supervised": "#0072B2", "mean_teacher": "#D55E00"}


def main() -> None:
    """Loss on the left, Dice of the validation cases on the right."""
    curves = json.loads(CURVES.read_text(encoding="utf-8"))
    figure, (loss, dice) = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for name, found in sorted(curves.items()):
        method, _, rest = name.partition("-")
        small_batch = "batch_2" in rest
        style = ":" if small_batch else "-" if rest.endswith("seed_0") else "--"
        label = f"{method}{', 2 patches' if small_batch else ''}, seed {rest[-1]}"
        loss.plot(*zip(*found["loss"], strict=True), style, color=COLORS[method], lw=1, alpha=0.8, label=label)
        points = zip(*found["validation_dice"], strict=True)
        dice.plot(*points, style, color=COLORS[method], marker="o", ms=3, label=label)
    loss.set(xlabel="step", ylabel="training loss (mean of 10 steps)", ylim=(0, None))
    dice.set(xlabel="step", ylabel="Dice % of the 10 validation cases", ylim=(30, 100))
    for axes in (loss, dice):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    dice.legend(frameon=False, fontsize=8, loc="lower right")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=130)


if __name__ == "__main__":
    main()
