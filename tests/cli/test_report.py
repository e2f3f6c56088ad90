"""``semivox report``, and the page that training leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semivox.cli import run
from semivox.cli.train import write_page
from semivox.errors import ResourceError

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))  # for synthetic


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    from synthetic import synthetic_comparison

    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2)
    return tmp_path / "out"


def test_the_page_is_written_where_it_is_asked_for(comparison: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(comparison)]) == 0
    assert capsys.readouterr().out.strip() == f"report: {comparison / 'report.html'}"
    assert run(["report", str(comparison), "--out", str(tmp_path / "elsewhere" / "mine.html")]) == 0
    assert (tmp_path / "elsewhere" / "mine.html").read_text() == (comparison / "report.html").read_text()


def test_another_folder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ERROR SVX-C6")
    assert len(said.splitlines()) == 1


def test_a_trained_run_is_done_even_if_its_page_cannot_be_written(
    comparison: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(comparison.rglob("seed_0"))
    write_page(folder)
    assert capsys.readouterr().out.strip() == f"report: {folder / 'report.html'}"

    def refuse(_: Path) -> None:
        raise ResourceError("C7", folder, "the disk is full", "free some space")

    monkeypatch.setattr("semivox.report.page.write_run_report", refuse)
    write_page(folder)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("no report: ERROR SVX-C7")

    def break_down(_: Path) -> None:
        raise ValueError("of a\nlibrary")

    monkeypatch.setattr("semivox.report.page.write_run_report", break_down)
    write_page(folder)
    assert capsys.readouterr() == ("", "no report: of a\\nlibrary\n")
