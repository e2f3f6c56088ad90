"""Names and numbers in messages: on one line, shortened, with the right plural."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format, surrogate, line and paragraph separator."""


def printable(text: str) -> str:
    """``text`` with control, format and surrogate characters written as escapes, so that it stays one line."""
    return "".join(_escaped(char) if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


def first_names(names: Iterable[str], limit: int = 5) -> str:
    """The first few names and how many more there are: ``"a, b, c, d, e and 7 more"``."""
    known = list(names)
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more


def count_of(number: int, noun: str) -> str:
    """``"1 image"``, ``"2 images"``, ``"3 classes"``."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
