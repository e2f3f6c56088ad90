"""Work in processes: order, bounds, errors and deaths."""

from __future__ import annotations

import os
import time

import pytest

from semivox.errors import InputError, ResourceError, UsageError
from semivox.workers import worker_pool


def double_slowly_first(number: int) -> int:
    if number == 0:
        time.sleep(0.5)
    return 2 * number


def refuse_two(number: int) -> int:
    if number == 2:
        raise InputError("X1", "2", "is two", "take another")
    return os.getpid()


def die(number: int) -> None:
    os._exit(number)


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_or_with_their_index(workers: int) -> None:
    with worker_pool(workers, command="test") as pool:
        assert list(pool.in_order(double_slowly_first, range(9))) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
        found = list(pool.as_done(double_slowly_first, range(9)))
        assert sorted(found) == [(number, 2 * number) for number in range(9)]
    assert (found[0] == (0, 0)) == (workers == 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_as_they_were_raised(workers: int) -> None:
    with worker_pool(workers, command="test") as pool:
        (other,) = pool.in_order(refuse_two, [1])
        assert (other == os.getpid()) == (workers == 0)
        with pytest.raises(InputError, match="is two"):
            list(pool.as_done(refuse_two, [1, 2]))


def test_a_worker_that_dies_is_told_with_a_way_out() -> None:
    with pytest.raises(ResourceError, match="a worker process was killed") as caught, \
            worker_pool(1, command="test", remedy="do otherwise") as pool:
        list(pool.in_order(die, [9]))
    assert (caught.value.subject, caught.value.fix) == ("test", "do otherwise")


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(UsageError, match="-1, expected 0 or more"), worker_pool(-1, command="test"):
        pass
