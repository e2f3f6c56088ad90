"""Figures of the best method alone: agreement of volumes, and whether its probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semivox.report.calibration import Calibration
from semivox.report.colors import Style
from semivox.report.vector import INK, MUTED, PAPER, drawing, to_svg
from semivox.report.words import number

LIMITS = 1.96
"""Standard deviations between which 95 % of the differences are expected (Bland & Altman, Lancet 1986)."""


class Volumes(NamedTuple):
    """Predicted and true volume of a class in each case, in milliliters."""

    class_name: str
    predicted_ml: Sequence[float]
    reference_ml: Sequence[float]


class Agreement(NamedTuple):
    """Bias and limits of agreement, in milliliters; limits are None for fewer than two cases."""

    bias_ml: float
    low_ml: float | None
    high_ml: float | None


def agreement_of(volumes: Sequence[Volumes]) -> Agreement:
    """Mean difference (prediction - reference) and its limits of agreement over all classes and cases."""
    differences = np.concatenate([np.subtract(each.predicted_ml, each.reference_ml) for each in volumes])
    bias = float(differences.mean())
    if len(differences) < 2:
        return Agreement(bias, None, None)
    half = LIMITS * float(differences.std(ddof=1))
    return Agreement(bias, bias - half, bias + half)


def agreement_plot(volumes: Sequence[Volumes], *, name: str, style: Style) -> str:
    """Bland-Altman plot: difference of the volumes over their mean, with bias and limits of agreement."""
    found = agreement_of(volumes)
    with drawing(2.9) as (figure, axes):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for index, each in enumerate(volumes):
            predicted, reference = np.array(each.predicted_ml), np.array(each.reference_ml)
            axes.plot((predicted + reference) / 2, predicted - reference, linestyle="none", marker="os^Dv"[index % 5],
                      markersize=5.5, color=style.color, alpha=0.8, markeredgecolor=PAPER, label=each.class_name)
        levels = {"bias": found.bias_ml, "+1.96 SD": found.high_ml, "−1.96 SD": found.low_ml}
        for text, level in levels.items():
            if level is not None:
                axes.axhline(level, color=INK, linewidth=1, linestyle="-" if text == "bias" else (0, (4, 3)))
                axes.annotate(f"{text} {number(level, signed=True)}", (0.995, level), ha="right", xytext=(0, 2.5),
                              xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7.5)
        if len(volumes) > 1:
            axes.legend(frameon=False, fontsize=7.5, loc="best")
        axes.set_xlabel("mean of predicted and true volume, ml")
        axes.set_ylabel("predicted − true, ml")
        return to_svg(figure, name, f"Difference of predicted and true volume over their mean, bias "
                                    f"{found.bias_ml:+.1f} ml")


def calibration_plot(found: Calibration, *, name: str, style: Style) -> str:
    """Reliability diagram: how often voxels of a stated foreground probability are foreground; below, how many."""
    filled = np.array(found.counts) > 0
    stated, observed = np.array(found.stated)[filled], np.array(found.observed)[filled]
    with drawing(2.9) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.fill_between(stated, stated, observed, color=style.color, alpha=0.16, linewidth=0)
        axes.plot(stated, observed, color=style.color, linewidth=1.8, marker="o", markersize=5, markeredgecolor=PAPER)
        share = np.log10(1 + np.array(found.counts)) / np.log10(1 + max(found.counts))
        edges = np.linspace(0, 1, len(found.counts) + 1)
        axes.bar(edges[:-1], 0.16 * share, width=np.diff(edges) * 0.86, align="edge", color=MUTED, alpha=0.28,
                 linewidth=0)
        axes.annotate("too timid", (0.16, 0.84), color=MUTED, fontsize=7.5)
        axes.annotate("too sure", (0.97, 0.34), color=MUTED, fontsize=7.5, ha="right")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("stated probability of foreground")
        axes.set_ylabel("share that is foreground")
        return to_svg(figure, name, f"Reliability diagram, expected calibration error {100 * found.error:.1f} %")
