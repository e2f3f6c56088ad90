"""The verb as a user calls it."""

from __future__ import annotations

import re

import pytest

from semivox.cli import run


def test_the_verb_prints_a_table_and_the_paths_of_its_results(scored, capsys: pytest.CaptureFixture[str]) -> None:
    folders = scored()
    arguments = ["evaluate", str(folders.predictions), str(folders.references), "--out", str(folders.out)]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "Protocol clinical" in printed
    assert "liver" in printed
    for name in ("cases.csv", "summary.json", "overlay.png"):
        assert str(folders.out / name) in printed
    assert run(arguments) == 2
    assert "ERROR SVX-P8" in capsys.readouterr().err
    assert run([*arguments, "--overwrite", "--protocol", "literature", "--legacy", "--tolerance-mm", "3"]) == 0
    assert "Protocol literature, legacy zero rule" in capsys.readouterr().out


def test_a_missing_prediction_exits_3_in_one_line(scored, capsys: pytest.CaptureFixture[str]) -> None:
    folders = scored()
    (folders.predictions / "good.nii.gz").unlink()
    arguments = ["evaluate", str(folders.predictions), str(folders.references), "--out", str(folders.out)]
    assert run(arguments) == 3
    assert re.fullmatch(r"ERROR SVX-P9  .*: good\.  Fix: .*\.\n", capsys.readouterr().err)
    assert run([*arguments, "--missing", "worst"]) == 0


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--help"]) == 0
    assert "semivox evaluate predictions/ store/labelsTs --out scores/" in " ".join(capsys.readouterr().out.split())
