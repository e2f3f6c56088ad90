import json
from importlib.resources import files

import pytest

from semivox.errors import InputError
from semivox.report.published import (
    dataset_of,
    load_published,
    published_grid,
    published_records,
    select,
)
from semivox.report.writers import csv_text, latex_text, markdown_text

BUILT_IN = json.loads(files("semivox.report").joinpath("published.json").read_text(encoding="utf-8"))


def row_of(paper, method, dataset, labeled, checkpoint, table="Table"):
    found = [row for row in load_published() if paper in row.paper and row.table.startswith(table)
             and (row.method, row.dataset, row.labeled, row.checkpoint) == (method, dataset, labeled, checkpoint)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("paper", "method", "dataset", "labeled", "checkpoint", "values"), [
    ("CAML", "CAML", "LA", 8, "last", (89.62, 81.28, 8.76, 2.02)),
    ("CAML", "V-Net", "LA", 80, "last", (90.98, 83.61, 8.58, 2.10)),
    ("CML", "CML", "LA", 4, "best_on_test", (87.63, None, 8.92, 2.23)),
    ("CML", "CML", "ACDC", 3, "best_on_validation", (88.53, None, 1.87, 0.57)),
    ("CRLN", "CRLN", "LA", 8, "last", (91.74, 84.79, 4.60, 1.46)),
    ("CRLN", "CRLN", "Pancreas", 6, "best_on_test", (81.24, 68.84, 8.38, 3.15)),
    ("CRLN", "CRLN", "BraTS19", 50, "last", (87.17, 78.19, 6.79, 1.62)),
])
def test_the_rows_of_the_papers_are_there(paper, method, dataset, labeled, checkpoint, values):
    table = "BraTS" if (paper, dataset) == ("CRLN", "BraTS19") else "Table"
    row = row_of(f"({paper})", method, dataset, labeled, checkpoint, table)
    measures = ("dice", "jaccard", "hd95_voxel", "asd_voxel")
    assert tuple(row.values.get(name) for name in measures) == values


def test_every_row_has_source_protocol_and_checkpoint_rule():
    rows = load_published()
    assert len(rows) > 150
    assert all(row.source and row.protocol and row.checkpoint for row in rows)
    assert {row.spread for row in rows if row.std and "CAML)" in row.paper} == {"seeds"}
    assert {row.spread for row in rows if row.std and "CRLN)" in row.paper} == {"cases"}
    assert not any(row.std for row in rows if "(CML)" in row.paper)


def test_numbers_are_plausible():
    for row in load_published():
        if "jaccard" in row.values and "do not fit" not in (row.note or "") and "shifted" not in (row.note or ""):
            dice = row.values["dice"] / 100
            # of one case the Jaccard index is dice / (2 - dice); of a mean it lies near that
            assert row.values["jaccard"] == pytest.approx(100 * dice / (2 - dice), abs=4), row
        if "hd95_voxel" in row.values:
            assert row.values["hd95_voxel"] > row.values["asd_voxel"]


def test_rows_are_chosen_by_dataset_and_labels_with_the_upper_bounds():
    rows = select(load_published(), dataset="LA", labeled={8, "all"})
    assert {row.dataset for row in rows} == {"LA"}
    assert {row.labeled for row in rows} == {8, 80}
    assert select(load_published(), dataset="knees") == []


def test_only_the_left_atrium_recipes_have_published_rows():
    assert [dataset_of({"recipe": recipe}) for recipe in ("la", "la_half", "auto")] == ["LA", "LA", None]
    assert dataset_of({}) is None


def test_the_block_says_checkpoint_spread_paper_and_source():
    rows = select(load_published(), dataset="LA", labeled={8})
    grid = published_grid(rows, "LA")
    assert len(grid.rows) == len(rows) == len(grid.marks)
    assert grid.columns[-4:] == ("checkpoint", "spread", "paper", "source")
    assert "not ours" in grid.notes[0]
    caml = next(row for row in grid.rows if row[0] == "CAML" and row[-4] == "last")
    assert "89.62 ± 0.20" in caml
    assert "± over seeds" in caml
    assert any(row[-4] == "best on test (leaky)" for row in grid.rows)
    assert "Published on LA" in markdown_text(grid)
    assert latex_text(grid).isascii()


def test_records_have_every_field():
    text = csv_text(published_records(load_published()))
    assert text.startswith("paper,table,dataset,training,labeled,method,spread,source,protocol,checkpoint,note,dice,")
    assert len(text.splitlines()) == len(load_published()) + 1


def changed(tmp_path, change):
    content = json.loads(json.dumps(BUILT_IN))
    change(content["tables"][0])
    path = tmp_path / "published.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("change", "said"), [
    (lambda table: table.pop("protocol"), "this key is missing"),
    (lambda table: table.update(sauce="x"), "unknown key"),
    (lambda table: table.update(checkpoint="best"), "unknown value 'best'"),
    (lambda table: table.update(measures=["dice", "iou", "hd95_voxel", "asd_voxel"]), "iou"),
    (lambda table: table["rows"][0]["values"].pop(), "3 numbers for 4 measures"),
    (lambda table: table["rows"][0].update(values=[0.87, None, None, None], std=None), "percent"),
    (lambda table: table["rows"][0].update(values=[None] * 4, std=None), "no number at all"),
    (lambda table: table["rows"][1].update(std=[1.0, 1.0, None, None]), "a spread without a mean"),
    (lambda table: table["rows"][0].update(labeled=81), "there are 80 training cases"),
    (lambda table: table["rows"][0].update(labeled="8"), "labeled"),
    (lambda table: table["rows"].append(table["rows"][0]), "is twice in"),
    (lambda table: table.update(source=""), "source"),
    (lambda table: table.update(rows=[]), "rows"),
])
def test_a_file_that_does_not_fit_is_refused_with_the_place(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        load_published(changed(tmp_path, change))


def test_a_file_of_one_s_own_is_read(tmp_path):
    path = changed(tmp_path, lambda table: table["rows"][0].update(method="Our V-Net"))
    assert load_published(path)[0].method == "Our V-Net"
