from __future__ import annotations

import pytest

from semivox.imaging.naming import split_channel


@pytest.mark.parametrize(
    ("stem", "case", "channel"),
    [
        ("x_0000", "x", 0), ("x_0012", "x", 12), ("a_0001_0002", "a_0001", 2),
        ("a\nb_0003", "a\nb", 3), ("__9999", "_", 9999),
    ],
)
def test_four_digits_at_the_end_are_split_off(stem: str, case: str, channel: int) -> None:
    name = split_channel(stem)
    assert name is not None
    assert (name.case, name.channel) == (case, channel)
    assert name.stem == stem


@pytest.mark.parametrize(
    "stem", ["x", "x_000", "x_00000", "_0000", "0000", "x_0000\n", "x_0000_", "x_\u0660\u0660\u0660\u0660", ""]
)
def test_other_names_have_no_channel(stem: str) -> None:
    assert split_channel(stem) is None
