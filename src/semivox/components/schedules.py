"""Ramps: factors between 0 and 1 that grow with the step. Plain numbers, no tensors."""

from __future__ import annotations

import math


def _ramp_fraction(step: int, rampup_steps: int, staircase: int) -> float:
    """Share of the ramp that is done, 0..1: 1 from ``rampup_steps`` on, and always if there is no ramp."""
    if rampup_steps < 0 or staircase < 1:
        raise ValueError(f"rampup_steps must be >= 0 and staircase >= 1, got {rampup_steps} and {staircase}")
    if rampup_steps == 0:
        return 1.0
    return min(max(step // staircase * staircase / rampup_steps, 0.0), 1.0)


def sigmoid_ramp(step: int, rampup_steps: int, *, staircase: int = 1) -> float:
    """Return ``exp(-5 (1 - t/T)^2)`` with ``t = min(step, T)`` (Laine & Aila, ICLR 2017).

    Args:
        step: training step, from 0.
        rampup_steps: ``T``, the step from which the ramp is 1; 0 means no ramp.
        staircase: the ramp moves once in so many steps; 1 is continuous, 150 is what the UA-MT lineage does.

    Returns:
        ``exp(-5) = 0.0067`` at step 0 (not 0), 1 from ``rampup_steps`` on.

    Examples:
        >>> round(sigmoid_ramp(0, 6000), 5), sigmoid_ramp(6000, 6000), sigmoid_ramp(0, 0)
        (0.00674, 1.0, 1.0)
    """
    return math.exp(-5.0 * (1.0 - _ramp_fraction(step, rampup_steps, staircase)) ** 2)


def linear_ramp(step: int, rampup_steps: int, *, staircase: int = 1) -> float:
    """Return ``min(step, T) / T``: 0 at step 0, 1 from ``rampup_steps`` on (always 1 if ``rampup_steps`` is 0).

    Examples:
        >>> linear_ramp(25, 100), linear_ramp(300, 100)
        (0.25, 1.0)
    """
    return _ramp_fraction(step, rampup_steps, staircase)


def cosine_ramp(step: int, rampup_steps: int, *, staircase: int = 1) -> float:
    """Return ``(1 - cos(pi t/T)) / 2``: 0 at step 0, 1 from ``rampup_steps`` on, flat at both ends.

    Examples:
        >>> cosine_ramp(50, 100)
        0.5
    """
    return 0.5 - 0.5 * math.cos(math.pi * _ramp_fraction(step, rampup_steps, staircase))
