from __future__ import annotations

import math

import pytest

from semivox.components.schedules import cosine_ramp, linear_ramp, sigmoid_ramp

RAMPS = [sigmoid_ramp, linear_ramp, cosine_ramp]


def test_sigmoid_ramp_starts_at_exp_minus_five_and_ends_at_one() -> None:
    assert sigmoid_ramp(0, 6000) == pytest.approx(math.exp(-5))
    assert sigmoid_ramp(3000, 6000) == pytest.approx(math.exp(-1.25))
    assert sigmoid_ramp(6000, 6000) == 1.0


@pytest.mark.parametrize("ramp", [linear_ramp, cosine_ramp])
def test_other_ramps_start_at_zero_and_are_half_way_in_the_middle(ramp) -> None:
    assert ramp(0, 100) == 0.0
    assert ramp(50, 100) == pytest.approx(0.5)
    assert ramp(100, 100) == pytest.approx(1.0)


def test_cosine_ramp_is_flat_at_both_ends() -> None:
    assert cosine_ramp(1, 1000) < 0.1 * linear_ramp(1, 1000)
    assert 1 - cosine_ramp(999, 1000) < 0.1 * (1 - linear_ramp(999, 1000))


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_ramp_never_falls_and_stays_at_one(ramp) -> None:
    values = [ramp(step, 40) for step in range(60)]
    assert values == sorted(values)
    assert values[40:] == [1.0] * 20


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_ramp_of_no_steps_is_one_from_the_start(ramp) -> None:
    assert ramp(0, 0) == 1.0


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_staircase_holds_its_value_between_two_stairs(ramp) -> None:
    assert ramp(299, 6000, staircase=150) == ramp(150, 6000)
    assert ramp(300, 6000, staircase=150) == ramp(300, 6000)


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize(("rampup_steps", "staircase"), [(-1, 1), (10, 0)])
def test_impossible_ramps_are_refused(ramp, rampup_steps: int, staircase: int) -> None:
    with pytest.raises(ValueError, match="rampup_steps must be >= 0 and staircase >= 1"):
        ramp(0, rampup_steps, staircase=staircase)
