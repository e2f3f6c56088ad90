"""The pages of the documentation, and the commands and code that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + [*DOCS.rglob("*.md")])
SHELLS = ("bash", "")
OPERATORS = {";", "|", "||", "&", "&&"}


def name_of(page: Path) -> str:
    """A page's path as it is shown in a test's name."""
    return page.relative_to(ROOT).as_posix()


def fenced(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page that are in one of the languages; ``""`` is a fence without one."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield block


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every semivox command in a page's shell blocks, from the verb on."""
    for block in fenced(page, *SHELLS):
        for line in block.replace("\\\n", " ").splitlines():
            for words in simple_commands(line):
                yield from semivox_words(words)


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Words of every ``semivox ...`` in a page's running text, from the verb on."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(semivox [^`]+)`", text):
        yield shlex.split(code)[1:]


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line, cut at shell operators and without comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in OPERATORS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def semivox_words(words: list[str]) -> Iterator[list[str]]:
    """What follows ``semivox``, ``python -m semivox`` or ``torchrun ... -m semivox``."""
    if words[:1] == ["semivox"]:
        yield words[1:]
    elif "semivox" in words and words[words.index("semivox") - 1] == "-m":
        yield words[words.index("semivox") + 1 :]
