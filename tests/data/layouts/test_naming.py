"""What four digits at the end of a name mean."""

from __future__ import annotations

import pytest

from semivox.data.layouts.naming import find_naming, usual_channels


@pytest.mark.parametrize(("groups", "declared", "wanted"), [
    ([{0}, {0}, {0, 1}], None, 1), ([{0, 1}, {0, 1}, {0}], None, 2), ([{0}, {0}, {0, 1}], 2, 2),
    ([{0, 1}, {0, 1}, {0}], 1, 2), ([{0}, {0}], 3, 1), ([{0}, {0, 1}], None, 2)])
def test_the_files_say_how_many_channels_there_are(groups: list[set[int]], declared: int | None, wanted: int) -> None:
    assert usual_channels(groups, declared=declared) == wanted


def test_a_name_that_is_known_wins_over_a_channel() -> None:
    naming = find_naming(["p", "p_0001"], {"p_0001"}, channels=None)
    assert naming.parse("p_0001") == ("p_0001", 0)
    assert find_naming(["p_0000"], {"p"}, channels=None).parse("p_0000") == ("p", 0)
    assert find_naming(["p_12"], {"p"}, channels=None).parse("p_12") == ("p_12", 0)
