"""Figures stand inside of a page: no ids that meet, no outside names, names of methods escaped."""

from __future__ import annotations

import re

import pytest

from semivox.report.calibration import Calibration
from semivox.report.colors import styles_of
from semivox.report.figures_agreement import Volumes, agreement_of, agreement_plot, calibration_plot
from semivox.report.figures_curves import MOST_POINTS, Curve, curve_plot, thinned
from semivox.report.figures_scores import (
    Difference,
    Efficiency,
    Series,
    box_plot,
    difference_plot,
    efficiency_plot,
    shortened,
)

EVIL = "<script>alert('x')</script> & \"co\" $x$"
STYLES = styles_of([(EVIL, "caml"), ("CML", "cml")])
SERIES = [Series(label, style, {"a": 80.0, "b": 60.0, "c": 91.0}) for label, style in STYLES.items()]
CURVES = [Curve(label, style, [(step, 1 / (step + 1)) for step in range(0, 50, 10)]) for label, style in STYLES.items()]


def figures() -> dict[str, str]:
    """One of each kind."""
    differences = [Difference(row.label, row.style, [1.0, -2.0, 5.0], 1.3, -1.0, 4.0, "p = 0.2") for row in SERIES]
    lines = [Efficiency(row.label, row.style, [(4, 60.0, 55.0, 65.0), (8, 70.0, 66.0, 74.0)]) for row in SERIES]
    found = Calibration((0.1, 0.5, 0.9), (0.2, 0.5, 0.8), (10, 0, 1000), 0.1, 3)
    return {
        "box": box_plot(SERIES, name="box", title="Dice %"),
        "difference": difference_plot(differences, name="difference", title="Dice, points", reference=EVIL),
        "efficiency": efficiency_plot(lines, name="efficiency", title="Dice %", bound=(EVIL, 88.0)),
        "curves": curve_plot(CURVES, name="curves", title="loss", logarithmic=True),
        "agreement": agreement_plot([Volumes(EVIL, [10.0, 12.0], [11.0, 15.0]), Volumes("b", [1.0], [2.0])],
                                    name="agreement", style=STYLES["CML"]),
        "calibration": calibration_plot(found, name="calibration", style=STYLES["CML"]),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return figures()


def test_figures_are_bare_svg_elements_with_ids_of_their_own(drawn: dict[str, str]) -> None:
    for name, svg in drawn.items():
        assert svg.startswith("<svg viewBox=")
        assert svg.endswith("</svg>")
        assert "http" not in svg
        assert all(found.startswith(f"{name}-") for found in re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_text_is_escaped_and_dollars_are_dollars(drawn: dict[str, str]) -> None:
    assert all("<script" not in svg for svg in drawn.values())
    assert "$x$" in drawn["efficiency"]


def test_ink_follows_the_page_and_methods_keep_their_color(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        assert "var(--ink)" in svg or "var(--muted)" in svg
        assert STYLES["CML"].color in svg


def test_the_same_numbers_draw_the_same_figure(drawn: dict[str, str]) -> None:
    assert figures() == drawn


def test_long_curves_are_thinned_to_means() -> None:
    steps, values = thinned([(step, float(step % 2)) for step in range(1600)])
    assert len(steps) == MOST_POINTS
    assert set(values) == {0.5}


def test_agreement_is_bias_and_limits() -> None:
    found = agreement_of([Volumes("a", [10, 12, 14], [11, 11, 11])])
    assert found.bias_ml == pytest.approx(1)
    assert found.high_ml == pytest.approx(1 + 1.96 * 2)
    assert agreement_of([Volumes("a", [10], [11])]).low_ml is None


@pytest.mark.parametrize(("label", "shown"), [("CAML", "CAML"), ("supervised (labeled per batch 2)",
                                                                 "supervised (labeled per\nbatch 2)"),
                                              ("x" * 60, "x" * 24 + "\n" + "x" * 23 + "…")])
def test_long_labels_take_two_lines(label: str, shown: str) -> None:
    assert shortened(label) == shown
