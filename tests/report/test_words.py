"""Sentences follow from numbers, and admit it where nothing follows."""

from __future__ import annotations

import pytest

from semivox.evaluation.comparison import Difference
from semivox.evaluation.statistics import Interval, case_interval
from semivox.report import words
from semivox.report.words import Contender


def contender(label: str, scores: list[float], role: str = "method", labeled: int | str = 8, **changes: object
              ) -> Contender:
    cases = {f"case_{number}": score for number, score in enumerate(scores)}
    mean = sum(scores) / len(scores)
    made = Contender(label, labeled, role, mean, 0.4, 2, case_interval(cases), cases, None, None, 0, len(scores))
    return made._replace(**changes)


SURE = [80.0 + number % 3 for number in range(12)]
WORSE = [score - 5 - number % 2 for number, score in enumerate(SURE)]
NOISY = [score + (8 if number % 2 else -8.5) for number, score in enumerate(SURE)]


def test_a_clear_winner_is_named_with_its_lead() -> None:
    text = words.headline([contender("CML", SURE), contender("CAML", WORSE)])
    assert text == "CML wins: 81.0 % Dice with 8 labeled cases, 5.5 points ahead of CAML."


def test_a_lead_that_may_be_chance_is_called_that() -> None:
    contest = [contender("CML", SURE), contender("CAML", NOISY)]
    assert words.headline(contest).startswith("CML has the highest mean Dice: 81.0 % with 8 labeled cases, 0.2 ")
    assert "CML is not called the winner: not distinguishable from CAML (Wilcoxon" in words.certainty(contest)


def test_a_single_seed_makes_no_winner() -> None:
    contest = [contender("CML", SURE), contender("CAML", WORSE, seeds=1, std=None)]
    assert words.headline(contest).startswith("CML has the highest mean Dice")
    assert "not called the winner: that takes at least two seeds of every method." in words.certainty(contest)


def test_the_best_of_many_is_tested_against_all_with_holms_correction() -> None:
    few = SURE[:6]  # the smallest p of six pairs is 0.031: enough for one test, too much for two
    second, third = (contender(label, [score - lost - number / 10 for number, score in enumerate(few)])
                     for label, lost in (("CAML", 1), ("DualNet", 2)))
    best = contender("CML", few)
    assert "CML wins" in words.headline([best, second])
    assert "CML has the highest mean Dice" in words.headline([best, second, third])
    assert "not distinguishable from CAML and DualNet (" in words.certainty([best, second, third])
    assert "called the winner" not in words.certainty([best])


def test_equal_means_have_no_winner() -> None:
    assert words.headline([contender("CML", SURE), contender("CAML", SURE)]).startswith("No winner")


@pytest.mark.parametrize(("contest", "text"), [([], "No run is finished"),
                                               ([contender("CML", SURE)], "nothing to compare it with")])
def test_without_two_methods_nothing_is_concluded(contest: list[Contender], text: str) -> None:
    assert text in words.headline(contest)


def test_one_seed_is_said_to_be_one() -> None:
    alone = [contender("CML", SURE, seeds=1, std=None), contender("CAML", WORSE, seeds=1, std=None)]
    assert "trained once" in words.certainty(alone)
    assert "2 seeds say little" in words.certainty([contender("CML", SURE), contender("CAML", WORSE)])


def test_more_labels_help_when_the_upper_bound_is_clearly_higher() -> None:
    contest = [contender("CML", SURE), contender("supervised", WORSE, "lower_bound")]
    upper = contender("supervised (all labels)", [score + 6 for score in SURE], "upper_bound", "all")
    assert words.more_labels(contest, [*contest, upper]).startswith("Yes")
    assert words.gap_closed(contest, [*contest, upper]) == pytest.approx(100 * 5.5 / 11.5)
    reached = contender("supervised (all labels)", SURE, "upper_bound", "all")
    assert "not what limits" in words.more_labels(contest, [*contest, reached])
    assert words.more_labels(contest, contest) == "Not known: no run used more labels."


def test_the_same_method_with_more_labels_is_the_better_witness() -> None:
    contest = [contender("CML", SURE)]
    more = contender("CML", [score + 3 for score in SURE], labeled=16)
    text = words.more_labels(contest, [*contest, more])
    assert text.startswith("Yes: CML with 16 labels reaches 84.0 %, +3.0 points to 8 labels")
    less = contender("CML", NOISY, labeled=16)
    upper = contender("supervised (all labels)", [score + 6 for score in SURE], "upper_bound", "all")
    text = words.more_labels(contest, [*contest, less, upper])
    assert text.startswith("Not with 16 of them: CML")
    assert "With all of them there is more to gain: supervised (all labels) reaches 87.0 %, 6.0 points above" in text


def test_missed_structures_are_counted_by_name() -> None:
    assert words.missed([contender("CML", SURE), contender("CAML", WORSE)]) == "None, by any of 2 methods."
    assert words.missed([contender("CML", SURE, missed=2)]).startswith("CML 2 of 12.")


def test_clearly_better_needs_the_interval_and_the_test() -> None:
    interval = Interval(2.0, 0.5, 3.5, 12)
    assert words.clearly_better(Difference(interval, True, 0.001, 0.01, 0))
    assert not words.clearly_better(Difference(interval, True, 0.04, 0.12, 0))
    assert not words.clearly_better(Difference(interval._replace(low=-0.1), True, 0.001, 0.01, 0))
    assert not words.clearly_better(None)


@pytest.mark.parametrize(("value", "text"), [(2.13, "+2.1 points"), (-2.13, "−2.1 points"), (0.04, "0.0 points"),
                                             (1.0, "+1.0 point")])
def test_points_have_true_signs(value: float, text: str) -> None:
    assert words.points(value, signed=True) == text
