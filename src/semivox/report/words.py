"""The answer in sentences: who won, by how much, how sure, would more labels help, what was missed.

Every sentence follows from numbers by a rule that is written here, and says so where nothing can be concluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from semivox.errors import InputError
from semivox.evaluation.comparison import Difference
from semivox.evaluation.statistics import Interval, paired_interval
from semivox.report.verdict import ALPHA, SEEDS, not_beaten
from semivox.wording import count_of

FEW_SEEDS = 3
SAME = 0.05
"""Points of Dice below which two means are called equal in words: they are not told apart by one decimal."""


class Contender(NamedTuple):
    """One row of the tables in the headline measure (Dice in percent)."""

    label: str
    labeled: int | str
    role: str
    """``method``, ``lower_bound`` or ``upper_bound``."""
    mean: float
    std: float | None
    """Over seeds."""
    seeds: int
    interval: Interval | None
    cases: dict[str, float]
    """Case to its score, averaged over seeds."""
    difference: Difference | None
    """To the reference."""
    best: float | None
    """Probability of being best among those with the same labels."""
    missed: int
    structures: int


class Finding(NamedTuple):
    """A short heading and what there is to say under it."""

    title: str
    text: str


def headline(contest: Sequence[Contender]) -> str:
    """The first sentence of the page.

    Args:
        contest: rows with the same number of labels, the best first.
    """
    if not contest:
        return "No run is finished yet, so there is no answer yet."
    best = contest[0]
    stated = f"{best.mean:.1f} % Dice {with_labels(best.labeled)}"
    if len(contest) == 1:
        return f"{best.label} reaches {stated}. There is nothing to compare it with: it is the only finished method."
    second = contest[1]
    gap = gap_between(best, second)
    if gap is None:
        return f"{best.label} has the highest mean, {stated}, but too few cases are shared to say whether it is better."
    if abs(gap.mean) < SAME:
        return f"No winner: {best.label} and {second.label} both reach {stated}."
    ahead = f", {points(gap.mean)} ahead of {second.label}" if gap.mean > 0 else ""
    if missing_to_win(contest):
        return f"{best.label} has the highest mean Dice: {best.mean:.1f} % {with_labels(best.labeled)}{ahead}."
    return f"{best.label} wins: {stated}{ahead}."


def missing_to_win(contest: Sequence[Contender]) -> str:
    """Why the best row is not called the winner; empty where its lead over every other row is sure."""
    same = [contest[number].label for number in not_beaten([each.cases for each in contest])]
    parts = ["that takes at least two seeds of every method"] * any(each.seeds < SEEDS for each in contest)
    parts += [f"not distinguishable from {listed(same)} (Wilcoxon, Holm-corrected)"] * bool(same)
    return "; ".join(parts)


def findings(contest: Sequence[Contender], everything: Sequence[Contender], reference: str) -> list[Finding]:
    """What follows the headline.

    Args:
        contest: rows with the same number of labels, the best first.
        everything: all rows, with every number of labels and the upper bound.
        reference: label of the row that the others are compared with.
    """
    if not contest:
        return []
    found = [Finding("By how much", lead(contest, reference)), Finding("How sure", certainty(contest)),
             Finding("Would more labels help?", more_labels(contest, everything)),
             Finding("Missed structures", missed(contest))]
    return [finding for finding in found if finding.text]


def lead(contest: Sequence[Contender], reference: str) -> str:
    """The best against the runner-up and against the reference."""
    best, parts = contest[0], []
    if len(contest) > 1:
        gap = gap_between(best, contest[1])
        if gap is not None:
            tested = best.difference if contest[1].label == reference else None
            parts.append(f"On the same {count_of(gap.n, 'case')} it is {points(gap.mean)} above {contest[1].label} "
                         f"(95 % interval {bounds(gap)}{p_text(tested.p_holm) if tested else ''}).")
    if best.label == reference and len(contest) > 1:
        parts.append(f"It is the reference itself: no method is better than {reference} alone.")
    elif best.difference is not None and contest[1].label != reference:
        parts.append(f"Against {reference} it is {points(best.difference.interval.mean, signed=True)} "
                     f"({bounds(best.difference.interval)}{p_text(best.difference.p_holm)}).")
    rivals = [each for each in contest if each.difference is not None]
    better = [each.label for each in rivals if clearly_better(each.difference)]
    if len(rivals) > 1:
        parts.append(f"Clearly better than {reference}: {listed(better)}." if better
                     else f"No method is clearly better than {reference}.")
    return " ".join(parts)


def certainty(contest: Sequence[Contender]) -> str:
    """What the cases say, and what the seeds cannot say."""
    best, parts = contest[0], []
    if len(contest) > 1 and (unsure := missing_to_win(contest)):
        parts.append(f"{best.label} is not called the winner: {unsure}.")
    if best.best is not None:
        parts.append(f"With other cases of the same kind {best.label} would come out best {chance(best.best)} "
                     "(bootstrap over cases).")
    seeds = min(each.seeds for each in contest)
    spreads = [each.std for each in contest if each.std is not None]
    if seeds < 2:
        parts.append("Some methods have a single seed, so how much another training would differ is not known."
                     if max(each.seeds for each in contest) > 1 else
                     "Every method was trained once, so how much another training would differ is not known.")
    elif spreads:
        few = f" {seeds} seeds say little about that." if seeds <= FEW_SEEDS else ""
        parts.append(f"Trainings with other seeds differ by up to ±{max(spreads):.1f} points.{few}")
    if len(contest[0].cases) < 10:
        parts.append(f"{count_of(len(best.cases), 'test case')} are few: the intervals are rough.")
    return " ".join(parts)


def more_labels(contest: Sequence[Contender], everything: Sequence[Contender]) -> str:
    """From the same method with other numbers of labels, and from the upper bound."""
    best, parts = contest[0], []
    more = [each for each in everything if each.label == best.label and isinstance(each.labeled, int)
            and isinstance(best.labeled, int) and each.labeled > best.labeled]
    if more:
        most = max(more, key=lambda each: int(each.labeled))
        gain = gap_between(most, best)
        sure = "" if gain is None else f" (95 % interval {bounds(gain)})"
        clear = gain is not None and gain.low > 0
        verb = "Yes" if clear else "Perhaps" if most.mean > best.mean else f"Not with {most.labeled} of them"
        parts.append(f"{verb}: {best.label} with {most.labeled} labels reaches {most.mean:.1f} %, "
                     f"{points(most.mean - best.mean, signed=True)} to {best.labeled} labels{sure}.")
    upper = next((each for each in everything if each.role == "upper_bound"), None)
    if upper is None:
        return " ".join(parts) or "Not known: no run used more labels."
    room = gap_between(upper, best)
    left = upper.mean - best.mean
    if left <= SAME:
        parts.append(f"{upper.label} reaches {upper.mean:.1f} %, no more than {best.label}: labels are not what limits "
                     "this comparison.")
        return " ".join(parts)
    clear = room is not None and room.low > 0
    if more:
        parts.append("With all of them there is more to gain:" if clear else "With all of them:")
    else:
        parts.append("Yes, as far as supervised training shows:" if clear else "Perhaps:")
    parts.append(f"{upper.label} reaches {upper.mean:.1f} %, {points(left)} above {best.label}"
                 + (f" (95 % interval {bounds(room)})." if room is not None else "."))
    return " ".join(parts)


def gap_closed(contest: Sequence[Contender], everything: Sequence[Contender]) -> float | None:
    """Share of the way from the lower to the upper bound that the best method goes, in percent; None without both."""
    lower = next((each for each in contest if each.role == "lower_bound"), None)
    upper = next((each for each in everything if each.role == "upper_bound"), None)
    if lower is None or upper is None or contest[0] is lower or upper.mean - lower.mean <= SAME:
        return None
    return 100 * (contest[0].mean - lower.mean) / (upper.mean - lower.mean)


def missed(contest: Sequence[Contender]) -> str:
    """Which methods do not find a structure, or find one that is not there."""
    guilty = [each for each in contest if each.missed]
    if not guilty:
        return f"None, by any of {count_of(len(contest), 'method')}." if len(contest) > 1 else "None."
    counted = [f"{each.label} {each.missed} of {each.structures}" for each in guilty]
    return (f"{listed(counted)}. Each counts with Dice 0 and the largest possible distance; none is left out of a "
            "mean.")


def gap_between(first: Contender, second: Contender) -> Interval | None:
    """Paired difference on the cases that both have; None for fewer than two."""
    shared = sorted(first.cases.keys() & second.cases.keys())
    try:
        return paired_interval({case: first.cases[case] for case in shared},
                               {case: second.cases[case] for case in shared})
    except InputError:
        return None


def clearly_better(difference: Difference | None) -> bool:
    """The interval lies on the good side of 0, and the corrected test agrees."""
    return bool(difference is not None and difference.better and difference.interval.low > 0
                and difference.p_holm is not None and difference.p_holm < ALPHA)


def points(value: float, *, signed: bool = False) -> str:
    """``"2.1 points"``; signed: ``"+2.1 points"``, ``"−2.1 points"``."""
    text = number(value, signed=signed)
    return f"{text} point" if text.lstrip("+−") == "1.0" else f"{text} points"


def number(value: float, *, signed: bool = False, digits: int = 1) -> str:
    """A number with a true minus sign, and a plus where ``signed``; zero has neither."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+" * signed) + text


def bounds(interval: Interval) -> str:
    """``"0.8 to 3.4"``."""
    return f"{number(interval.low)} to {number(interval.high)}"


def p_text(p: float | None) -> str:
    """``", p = 0.012 after Holm's correction"``; nothing when there is no test."""
    if p is None:
        return ""
    return f", p {'< 0.001' if p < 0.001 else f'= {p:.3f}'} after Holm’s correction"


def chance(share: float) -> str:
    """A probability in words with its number."""
    percent = 100 * share
    shown = "more than 99 %" if percent > 99 else "less than 1 %" if percent < 1 else f"{percent:.0f} %"
    return f"in {shown} of the resamples"


def with_labels(labeled: int | str) -> str:
    """``"with 8 labeled cases"``."""
    return "with all labels" if isinstance(labeled, str) else f"with {count_of(labeled, 'labeled case')}"


def listed(names: Sequence[str]) -> str:
    """``"A, B and C"``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
