"""Whether the best row is more than the luckiest one: tests against all others, corrected for having looked at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semivox.evaluation.statistics import holm, paired_interval, wilcoxon_p

ALPHA = 0.05
SEEDS = 2
"""With a single training of a method, the difference may be that of two seeds."""


def not_beaten(cases: Sequence[Mapping[str, float]]) -> list[int]:
    """Rows that the first one is not surely better than.

    A row is beaten when the 95 % interval of the paired difference lies above 0 and Wilcoxon's paired test, with Holm's
    correction over all rows after the first, has p < 0.05.

    Args:
        cases: of each row, case to score; pairs are the cases that both rows have.

    Returns:
        Their positions in ``cases``.
    """
    first = cases[0]
    pairs = {number: sorted(first.keys() & other.keys()) for number, other in enumerate(cases) if number}
    corrected = holm({number: wilcoxon_p([first[case] - cases[number][case] for case in shared])
                      for number, shared in pairs.items()})
    found = []
    for number, shared in pairs.items():
        p = corrected[number]
        beaten = len(shared) > 1 and p is not None and p < ALPHA and paired_interval(
            {case: first[case] for case in shared}, {case: cases[number][case] for case in shared}).low > 0
        found += [number] * (not beaten)
    return found
