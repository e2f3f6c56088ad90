"""Masks that do not look like the others."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.data.checks.labels import ClassFacts
from semivox.data.checks.outliers import outlier_problems


def random_facts(rng: np.random.Generator) -> ClassFacts:
    x, y, z = rng.normal((0.3, 0.4, 0.5), 0.03).tolist()
    return ClassFacts(rng.normal(1, 0.3), (x, y, z), rng.normal(-3, 0.3), tuple(rng.normal(0, 0.3, 7)))


@pytest.mark.parametrize("seed", range(20))
def test_masks_that_vary_normally_raise_no_alarm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert outlier_problems({str(i): {1: random_facts(rng)} for i in range(60)}, ("background", "x")) == []


@pytest.mark.parametrize(("count", "found"), [(7, 0), (8, 1)])
def test_fewer_than_eight_masks_say_nothing(count: int, found: int) -> None:
    usual = ClassFacts(1.0, (0.3, 0.4, 0.5), -3.0, (0.0,) * 7)
    cases = {str(index): {1: usual} for index in range(count)}
    cases["0"] = {1: usual._replace(centroid=(0.9, 0.4, 0.5))}
    assert [problem.code for problem in outlier_problems(cases, ("background", "x"))] == ["I29"] * found
