"""The number that half of the literature reports: the best test score over the steps. It is leaky, and marked as such.

Nothing is trained or chosen with it here. Weights of every k-th step are kept and scored on the test cases after the
end, so that what a choice by the test cases would have gained can be said.
"""

from __future__ import annotations

from typing import NamedTuple

from semivox.matrix import LAST
from semivox.report.collect import RunRecord
from semivox.report.scores import Scores

CHOSEN_BY = "dice"
"""What the literature chooses its checkpoint by; the other measures are those of the same step."""


class Peek(NamedTuple):
    """The weights that look best on the test cases."""

    step: int
    """The earliest one with the highest mean; the run's last step is among the candidates."""
    scores: Scores
    gain: float
    """Mean Dice of the test cases, percent, above that of the last step: 0 or more."""


def peek(run: RunRecord) -> Peek | None:
    """Choose a run's weights by its test cases; None when no weights were kept on the way."""
    last = run.scores.get(LAST)
    kept = run.stepwise()
    if last is None or not kept:
        return None
    candidates = sorted({**kept, run.spec.steps: last}.items())
    means = {step: scores.over_cases(CHOSEN_BY).mean for step, scores in candidates}
    known = {step: mean for step, mean in means.items() if mean is not None}
    if run.spec.steps not in known:
        return None
    best = max(known, key=lambda step: known[step])
    return Peek(best, dict(candidates)[best], known[best] - known[run.spec.steps])
