from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from semivox.imaging.files import Scan
from semivox.imaging.geometry import Geometry, orientation_of
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.inference.plausibility import scan_warnings

MakePlan = Callable[..., Plan]
RAMP = np.linspace(-1000, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
CT = ChannelPlan(name="CT", scheme="ct", mean=60, std=30, percentile_00_5=-20, percentile_99_5=180)


def warnings_for(array: np.ndarray, plan: Plan, *, spacing: tuple[float, float, float] = (1, 1, 1),
                 direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1), known: bool = True) -> tuple[str, ...]:
    geometry = Geometry(spacing, (0, 0, 0), direction, known)
    return scan_warnings([Scan(array, geometry)], orientation_of(geometry), plan, subject="a.nii")


def test_a_usual_scan_gives_no_warning(make_plan: MakePlan) -> None:
    assert warnings_for(RAMP, make_plan(spacing_mm=(1, 1, 2.9), channels=(CT,))) == ()


@pytest.mark.parametrize("spacing", [(0.01, 1, 1), (1, 1, 50)])
def test_implausible_spacing_is_named(spacing: tuple[float, float, float], make_plan: MakePlan) -> None:
    (line,) = warnings_for(RAMP, make_plan(), spacing=spacing)
    assert line.startswith("WARNING SVX-P4  a.nii: spacing ")
    assert "is implausible, expected 0.05 to 20 mm.  Fix: " in line


@pytest.mark.parametrize("spacing", [(10, 10, 10), (0.3, 0.3, 0.3), (1, 1, 3.1)])
def test_spacing_far_from_training_is_named(spacing: tuple[float, float, float], make_plan: MakePlan) -> None:
    (line,) = warnings_for(RAMP, make_plan(spacing_mm=(1, 1, 1)), spacing=spacing)
    assert "P4" in line
    assert "is far from the training's 1 x 1 x 1 mm" in line


def test_spacing_is_compared_in_the_plans_axis_order(make_plan: MakePlan) -> None:
    plan, turned = make_plan(spacing_mm=(1, 1, 5)), (0, 0, 1, 0, 1, 0, 1, 0, 0)  # first array axis runs upward
    assert warnings_for(RAMP, plan, spacing=(5, 1, 1), direction=turned) == ()
    assert len(warnings_for(RAMP, plan, spacing=(1, 1, 5), direction=turned)) == 1


def test_unknown_spacing_matters_only_where_scans_are_resampled(make_plan: MakePlan) -> None:
    assert warnings_for(RAMP, make_plan(), known=False) == ()
    assert "does not say its spacing" in warnings_for(RAMP, make_plan(spacing_mm=(1, 1, 1)), known=False)[0]


def test_an_intensity_offset_of_a_ct_is_named_with_its_score(make_plan: MakePlan) -> None:
    (line,) = warnings_for(RAMP + 2000, make_plan(channels=(CT,)))
    # mean of RAMP + 2000 is 2000: (2000 - 60) / 30 = 64.7 standard deviations
    assert "SVX-P3  a.nii: only 0.00% of channel CT lies in the training's range -20 to 180" in line
    assert "(mean +64.7 standard deviations away)" in line


def test_a_scan_with_one_value_is_named(make_plan: MakePlan) -> None:
    (line,) = warnings_for(np.full((4, 4, 4), 7, np.float32), make_plan())
    assert "SVX-I19  a.nii: all voxels of channel image are 7" in line
