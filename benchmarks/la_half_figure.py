"""Draw the learning curves of all runs of a length: docs/benchmarks/la-half.png, or la-half-600.png.

python benchmarks/la_half_figure.py [--steps 2000|600]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
from la_half import MATRICES, files_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

FIGURES = Path(__file__).parents[1] / "docs" / "benchmarks"
COLORS = {"supervised": "#000000", "mean_teacher": "#D55E00", "caml": "#0072B2", "cml": "#009E73", "crln": "#CC79A7",
          "dualnet": "#E69F00"}
STYLES = ("-", "--", ":", "-.")


def main() -> None:
    """Loss, Dice of the deployed network and, where it was logged, of the pseudo-labels on the validation cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, choices=MATRICES, default=2000)
    options = parser.parse_args()
    curves: dict[str, dict[str, Any]] = json.loads(files_of(options.steps).curves.read_text(encoding="utf-8"))
    shown = {"loss": "training loss (mean of 10 steps)", "validation_dice": "Dice % of the 10 validation cases",
             "pseudo_label_dice": "Dice % of the pseudo-labels on them"}
    keys = [key for key in shown if any(found.get(key) for found in curves.values())]
    figure, panels = plt.subplots(1, len(keys), figsize=(5 * len(keys), 3.9), constrained_layout=True)
    for axes, key in zip(panels, keys, strict=True):
        draw(axes, curves, key)
        axes.set(xlabel="step", ylabel=shown[key])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].legend(frameon=False, fontsize=8, loc="lower right")
    name = "la-half.png" if options.steps == 2000 else f"la-half-{options.steps}.png"
    figure.savefig(FIGURES / name, dpi=130)


def draw(axes: Axes, curves: dict[str, dict[str, Any]], key: str) -> None:
    """One line a run: the color is the method's, the style tells its runs apart."""
    drawn: dict[str, int] = {}
    for name, found in curves.items():
        method, _, seed = name.partition("-labeled_8-")
        color = COLORS[method.partition("-")[0]]
        style = STYLES[drawn.setdefault(color, 0)]
        drawn[color] += 1
        if found.get(key):
            points = zip(*found[key], strict=True)
            label = f"{method}, {seed}".replace("_", " ")
            axes.plot(*points, style, color=color, marker="" if key == "loss" else "o", ms=3, lw=1.2, label=label)


if __name__ == "__main__":
    main()
