"""What the demo does when one of its commands does not end well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from semivox.demo import story
from semivox.errors import StoppedError


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``told(code)`` tells the story on no scans at all; its first command ends with ``code``."""
    monkeypatch.setattr(story, "write_dataset", lambda folder, **_: folder.mkdir(parents=True))
    lines: list[Sequence[str]] = []

    def tell(code: int) -> list[Sequence[str]]:
        def run_command(line: Sequence[str]) -> int:
            lines.append(line)
            return code

        story.tell_story(tmp_path / "demo", run_command, steps=2, say=lambda _: None)
        return lines

    tell.lines = lines
    return tell


def test_a_stop_is_a_stop_and_no_failure(told) -> None:
    with pytest.raises(StoppedError, match="was stopped.*give the same command again") as caught:
        told(75)
    assert caught.value.exit_code == 75
    assert [line[0] for line in told.lines] == ["check"]


def test_a_command_that_fails_ends_the_story_with_its_exit_code(told) -> None:
    with pytest.raises(story.StepFailed, match="`semivox check` ended with exit code 4") as caught:
        told(4)
    assert caught.value.exit_code == 4
