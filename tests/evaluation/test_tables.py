from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from semivox.evaluation.pairs import Pair
from semivox.evaluation.result import CaseRow, Evaluation, Statistic
from semivox.evaluation.tables import guarded, screen_table, shown, summary, write_cases
from semivox.metrics.conventions import Rules, class_metrics


def evaluation(case: str = "a", name: str = "liver", *, protocol: str = "clinical", legacy: bool = False) -> Evaluation:
    reference = np.zeros((5, 5, 5), np.uint8)
    reference[1:3, 1:3, 1:3] = 1
    rules = Rules(legacy=legacy)
    rows = []
    for index, prediction in enumerate((reference, np.roll(reference, 1, 0), np.zeros_like(reference))):
        found = class_metrics(prediction, reference, [1], spacing_mm=(1.0, 1.0, 1.0), rules=rules)
        rows.append(CaseRow(Pair(f"{case}{index}", None, Path("r.nii")), 1, name, found[1], 0.001))
    return Evaluation(tuple(rows), {1: name}, protocol, rules, ("1 prediction without a reference, left out: z.",))


def printed(found: Evaluation) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen_table(found))
    return " ".join(console.export_text().split())


def test_screen_table_names_the_protocol_and_counts_the_missed() -> None:
    text = printed(evaluation())
    assert "Protocol clinical" in text
    assert "liver 50.00 ± 50.00" in text
    assert " 3 1 HD95 and ASSD pool" in text
    assert "Missed: 1 not found, 0 found where there is none" in text
    assert "Lowest Dice % of 3 cases: a2 0.00, a1 50.00, a0 100.00" in text
    assert "left out: z" in text


def test_screen_table_of_the_literature_has_its_measures_and_warns_of_legacy() -> None:
    text = printed(evaluation(protocol="literature", legacy=True))
    assert all(title in text for title in ("Dice %", "Jaccard %", "HD95 voxel", "ASD voxel", "legacy zero rule"))
    assert "distance 0 (legacy), which rewards them" in text


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "[/]", "=cmd|'/C calc'!A0"])
def test_names_are_shown_as_they_are(name: str) -> None:
    assert name in printed(evaluation(case=name, name=name))


def test_a_mean_without_values_is_a_dash() -> None:
    assert shown(Statistic(None, None, 0)) == "–"
    assert shown(Statistic(81.254, None, 1)) == "81.25"


def test_csv_cells_are_no_formulas_and_no_second_line(tmp_path: Path) -> None:
    assert all(guarded(text) == "'" + text for text in ("=1", "+1", "-1", "@x", "\tx"))
    assert guarded("la_1") == "la_1"
    write_cases(tmp_path / "cases.csv", evaluation(case="=cmd|' /C calc'!A0,\n", name="@liver"))
    with open(tmp_path / "cases.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[1][0] == "'=cmd|' /C calc'!A0,\\n0"
    assert rows[1][-1] == "'@liver"
    assert len(rows) == 4


def test_summary_of_one_case_has_no_spread() -> None:
    found = evaluation()
    content = summary(found._replace(rows=found.rows[:1]))
    assert content["classes"]["1"]["std"]["dice"] is None
    assert content["n"] == 1
