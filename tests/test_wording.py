"""Names and numbers in messages."""

from __future__ import annotations

import pytest

from semivox.wording import count_of, first_names, printable


@pytest.mark.parametrize(("text", "shown"), [
    ("a\nb", "a\\nb"), ("\x1b[31mred", "\\x1b[31mred"), ("\u202egpj", "\\u202egpj"), ("\udcff", "\\udcff"),
    ("Größe 腎臓", "Größe 腎臓")])
def test_control_characters_are_escaped_and_letters_are_not(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_first_names_says_how_many_more() -> None:
    assert first_names("abcdefg") == "a, b, c, d, e and 2 more"
    assert first_names("ab") == "a, b"


def test_counts_have_the_right_number() -> None:
    assert [count_of(1, "case"), count_of(0, "case"), count_of(3, "class")] == ["1 case", "0 cases", "3 classes"]
