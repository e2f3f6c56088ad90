from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from run_material import train

from semivox.engine import live
from semivox.engine.curves import draw_curves, panels_of, stage_starts

ROWS: list[dict[str, Any]] = [
    {"step": 1, "stage": "pretrain", "loss": 3.0, "terms": {"supervised": 1.0, "mine": 2.0, "mine_weight": 0.5}},
    {"step": 2, "stage": "pretrain", "loss": None, "terms": {"supervised": None, "mine": 1.0, "mine_weight": 0.6}},
    {"step": 2, "validation": {"dice": 50.0, "pseudo_label_dice": None, "dice_per_case": {"a": 50.0}}},
    {"step": 3, "stage": "adapt", "loss": 1.0, "terms": {"supervised": 0.5, "coverage": 0.25}},
    {"step": 3, "validation": {"dice": 60.0, "pseudo_label_dice": 65.0, "dice_per_case": {"a": 60.0}}},
]


def test_each_term_has_a_panel_and_its_weight_is_drawn_with_it() -> None:
    panels = {panel.title: panel.lines for panel in panels_of(ROWS)}
    assert list(panels) == ["loss", "Dice % of the validation cases", "supervised", "mine", "coverage"]
    assert panels["loss"] == {"loss": [(1, 3.0), (3, 1.0)]}  # what is not a number is left out
    assert panels["mine"] == {"mine": [(1, 2.0), (2, 1.0)], "mine_weight": [(1, 0.5), (2, 0.6)]}
    assert panels["coverage"] == {"coverage": [(3, 0.25)]}


def test_validation_shows_the_deployed_and_the_observed_networks() -> None:
    panel = panels_of(ROWS)[1]
    assert panel.lines == {"deployed": [(2, 50.0), (3, 60.0)], "pseudo label": [(3, 65.0)]}


def test_stages_are_marked_where_they_begin() -> None:
    assert stage_starts(ROWS) == [2]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[2:3]])
def test_sheet_is_a_picture(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png", title="test")
    pixels = matplotlib.image.imread(tmp_path / "curves.png")
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].min() < 0.5 < pixels[..., :3].max()


def test_nothing_is_drawn_before_there_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png", title="test")
    assert not (tmp_path / "curves.png").exists()


def test_finished_run_has_its_curves(toy_store, tmp_path: Path) -> None:
    assert train(toy_store, tmp_path / "run", "supervised").curves.stat().st_size > 1000


def test_curves_that_cannot_be_written_do_not_end_a_run(toy_store, tmp_path: Path, capsys, monkeypatch) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(live, "draw_curves", full)
    run = train(toy_store, tmp_path / "run", "supervised")
    assert run.finished()
    assert "curves.png cannot be written (no space left)" in capsys.readouterr().err
