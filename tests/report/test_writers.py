import csv
import io
import re
import shutil
import subprocess

import pytest
from synthetic import synthetic_comparison

from semivox.evaluation.statistics import Interval, Spread
from semivox.report.collect import collect
from semivox.report.tables import main_table, paired_rows
from semivox.report.writers import (
    DASH,
    Grid,
    csv_text,
    grid_of,
    latex_text,
    main_records,
    mark_of,
    markdown_text,
    paired_records,
    shown_interval,
    shown_p,
    shown_spread,
    write_tables,
)

NASTY = Grid("a_b & 50 %", ("method", "labels", "Dice %"), (("x|y_1 <b> $\\alpha$", "4", "81.00 ± 1.00"),), ("a",),
             ("Lower is better: # ~ ^ {}.",), (("a", "p < 0.05 – sure"),))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("writers") / "out"
    synthetic_comparison(path, ("supervised", "mean_teacher", "caml"), cases=4, peek_every=20,
                         states={("mean_teacher", 1): "failed"})
    return main_table(collect(path), resamples=300)


def test_grid_has_a_cell_for_every_column(table):
    grid = grid_of(table)
    assert grid.columns == (
        "method", "labels", "Dice %", "95 % interval", "Jaccard %", "HD95 voxel", "ASD voxel", "missed", "seeds",
        "best", "difference", "p (Holm)", "gap", "Dice % by validation", "Dice % best on test (leaky)",
        "gain over last (leaky)")
    assert {len(row) for row in grid.rows} == {len(grid.columns)}
    assert len(grid.marks) == len(grid.rows) == 4


def test_cells_are_what_the_rows_say(table):
    grid = grid_of(table)
    caml, row = next(line for line in grid.rows if line[0] == "CAML"), next(row for row in table.rows
                                                                           if row.label == "CAML")
    cells = dict(zip(grid.columns, caml, strict=True))
    found = row.spread["dice"]
    assert cells["Dice %"] == f"{found.mean:.2f} ± {found.seeds:.2f}"
    assert cells["missed"] == "0 of 8"
    assert cells["seeds"] == "2"
    assert cells["difference"].startswith(f"+{row.standing['dice'].difference.interval.mean:.2f} (")
    assert dict(zip(grid.columns, grid.rows[0], strict=True))["difference"] == DASH


def test_leaky_columns_are_absent_unless_shown(table):
    assert not any("leaky" in name for name in grid_of(table._replace(peeking=False)).columns)
    assert not any("leaky" in name for name in main_records(table._replace(peeking=False))[0])


def test_csv_has_every_number_in_full(table):
    text = csv_text(main_records(table))
    rows = list(csv.DictReader(io.StringIO(text)))
    caml = next(row for row in table.rows if row.label == "CAML")
    found = next(row for row in rows if row["method"] == "CAML")
    assert float(found["hd95_voxel_mean"]) == caml.spread["hd95_voxel"].mean
    assert float(found["dice_difference_low"]) == caml.standing["dice"].difference.interval.low
    assert float(found["dice_gain_leaky"]) == pytest.approx(caml.peeked.gain)
    assert found["dice_std_draws"] == ""
    assert (found["seeds"], found["draws"], found["variant"]) == ("2", "1", "default-steps_40")
    assert [row["labeled"] for row in rows] == ["4", "4", "4", "all"]


def test_paired_csv_has_a_row_for_each_difference(table):
    records = paired_records(paired_rows(table))
    rows = list(csv.DictReader(io.StringIO(csv_text(records))))
    assert len(rows) == 8
    assert rows[0].keys() >= {"method", "reference", "measure", "difference", "low", "high", "wilcoxon_p", "holm_p"}
    assert csv_text([]) == ""


def test_csv_cells_are_no_formulas():
    assert csv_text([{"method": "=1+1", "n": -3, "note": "a\nb"}]) == "method,n,note\n'=1+1,-3,a\\nb\n"


def test_markdown_is_a_table_with_its_notes(table):
    lines = markdown_text(grid_of(table)).splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 4
    assert len({line.count("|") for line in body}) == 1
    assert any(line.startswith("| Mean Teacher<sup>") for line in body)
    assert any(line.startswith("- <sup>a</sup> ") for line in lines)


def test_markdown_and_latex_escape_what_is_special():
    markdown = markdown_text(NASTY)
    assert r"x\|y_1 &lt;b>" in markdown
    latex = latex_text(NASTY)
    assert r"x|y\_1 $<$b$>$ \$\textbackslash{}alpha\$\textsuperscript{a} & 4 & 81.00 $\pm$ 1.00 \\" in latex
    assert r"\caption{a\_b \& 50 \%}" in latex
    assert r"\# \textasciitilde{} \textasciicircum{} \{\}" in latex
    assert latex.isascii()


def test_latex_has_the_rules_of_booktabs_in_their_order(table):
    text = latex_text(grid_of(table))
    rules = re.findall(r"\\(toprule|midrule|bottomrule)", text)
    assert rules == ["toprule", "midrule", "bottomrule"]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text).group(1)
    body = [line for line in text.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines() if line]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {len(columns)}
    assert text.isascii()


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles(table, tmp_path):
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{latex_text(grid_of(table))}"
    (tmp_path / "t.tex").write_text(document + r"\end{document}")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_all_files_are_written(table, tmp_path):
    write_tables(tmp_path / "tables", table, paired_rows(table))
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"main.csv", "main.md", "main.tex", "paired.csv"}


def test_numbers_are_shown_shortly():
    assert shown_spread(Spread(81.254, 3.1, None, 2, 1)) == "81.25 ± 3.10"
    assert shown_spread(Spread(81.254, None, None, 1, 1)) == "81.25"
    assert shown_spread(None) == shown_spread(Spread(None, None, None, 0, 0)) == DASH
    assert shown_interval(Interval(1.0, -0.5, 2.25, 3)) == "−0.50 to 2.25"
    assert [shown_p(p) for p in (None, 0.00001, 0.01234, 0.5)] == [DASH, "< 0.0001", "0.012", "0.50"]


def test_footnotes_are_lettered_beyond_z():
    assert [mark_of(number) for number in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
