"""Draws: pure, balanced, disjoint between ranks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from semivox.data.sampling import Draw, Streams, draws
from semivox.errors import UsageError
from semivox.seeding import fold_in

STREAMS = Streams(
    seed=7, rank=0, world_size=1, labeled_cases=5, unlabeled_cases=12, labeled_per_batch=2, unlabeled_per_batch=3
)


def draw(step: int, **changes: Any) -> list[Draw]:
    return draws(step, STREAMS._replace(**changes))


def test_labeled_samples_come_first_and_counts_are_as_configured() -> None:
    for step in range(20):
        batch = draw(step)
        assert [sample.labeled for sample in batch] == [True, True, False, False, False]
        assert all(sample.case < 5 for sample in batch[:2])
        assert all(5 <= sample.case < 17 for sample in batch[2:])


def test_the_same_step_gives_the_same_draws_in_any_order_of_asking() -> None:
    forward = [draw(step) for step in range(30)]
    backward = [draw(step) for step in reversed(range(30))]
    assert forward == backward[::-1]


def test_draws_depend_on_the_seed_of_the_run() -> None:
    assert [draw(step) for step in range(5)] != [draw(step, seed=8) for step in range(5)]


def test_the_seed_of_a_sample_is_made_of_step_rank_and_slot() -> None:
    batch = draw(11, rank=1, world_size=2)
    assert [sample.seed for sample in batch] == [fold_in(7, "sample", 11, 1, slot) for slot in range(5)]


def test_no_two_samples_of_a_run_share_a_seed() -> None:
    seeds = [sample.seed for step in range(50) for rank in range(2) for sample in draw(step, rank=rank, world_size=2)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_case_appears_equally_often_over_full_passes(world_size: int) -> None:
    steps = 5 * 12  # labeled: 60 * 2 = 24 passes of 5; unlabeled: 60 * 3 = 15 passes of 12, per rank
    counts = Counter(
        sample.case for step in range(steps) for rank in range(world_size)
        for sample in draw(step, rank=rank, world_size=world_size)
    )  # fmt: skip
    assert {counts[case] for case in range(5)} == {24 * world_size}
    assert {counts[case] for case in range(5, 17)} == {15 * world_size}


def test_ranks_take_disjoint_slices_of_one_stream() -> None:
    one_process = [sample.case for step in range(6) for sample in draw(step, labeled_per_batch=4)[:4]]
    two_ranks = [
        sample.case for step in range(6) for rank in range(2) for sample in draw(step, rank=rank, world_size=2)[:2]
    ]
    assert one_process == two_ranks


def test_a_pass_is_a_permutation_and_the_next_pass_another_one() -> None:
    stream = [sample.case - 5 for step in range(40) for sample in draw(step)[2:]]
    passes = [tuple(stream[start : start + 12]) for start in range(0, 120, 12)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len(set(passes)) == len(passes)


def test_fewer_labeled_cases_than_a_batch_takes_repeat_with_other_seeds() -> None:
    batch = draw(0, labeled_cases=1, labeled_per_batch=3, unlabeled_per_batch=0)
    assert [sample.case for sample in batch] == [0, 0, 0]
    assert len({sample.seed for sample in batch}) == 3


def test_zero_unlabeled_samples_need_no_unlabeled_cases() -> None:
    assert len(draw(0, unlabeled_cases=0, unlabeled_per_batch=0)) == 2


def test_unlabeled_samples_without_unlabeled_cases_name_a_method_that_fits() -> None:
    with pytest.raises(UsageError, match="supervised") as caught:
        draw(0, unlabeled_cases=0)
    assert caught.value.code == "D13"


def test_labeled_samples_without_labeled_cases_are_refused() -> None:
    with pytest.raises(UsageError, match="0 labeled cases") as caught:
        draw(0, labeled_cases=0)
    assert caught.value.code == "D13"
