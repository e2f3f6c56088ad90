"""One color for a method, told apart by everybody."""

from __future__ import annotations

import itertools

from semivox.report.colors import KNOWN, OTHERS, styles_of


def test_a_method_has_one_color_and_its_variants_other_dashes() -> None:
    styles = styles_of([("CAML", "caml"), ("CAML without OCC", "caml"), ("CML", "cml"), ("CAML", "caml")])
    assert list(styles) == ["CAML", "CAML without OCC", "CML"]
    assert styles["CAML"].color == styles["CAML without OCC"].color == KNOWN["caml"] != styles["CML"].color
    assert styles["CAML"].dashes != styles["CAML without OCC"].dashes
    assert styles["CAML"].css_dashes == "none"


def test_methods_of_a_users_own_get_colors_that_no_other_has() -> None:
    styles = styles_of([(name, name) for name in ("mine:A", "caml", "mine:B")])
    assert [style.color for style in styles.values()] == [OTHERS[0], KNOWN["caml"], OTHERS[1]]


def test_colors_differ_in_lightness_or_blue_yellow_which_color_blind_readers_see() -> None:
    def seen(color: str) -> tuple[float, float]:
        red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
        return 0.35 * red + 0.6 * green + 0.05 * blue, blue - (red + green) / 2

    for first, second in itertools.combinations(KNOWN.values(), 2):
        (light, hue), (other_light, other_hue) = seen(first), seen(second)
        assert abs(light - other_light) + abs(hue - other_hue) > 0.1, (first, second)
