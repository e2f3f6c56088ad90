"""The page says what the numbers say, escapes everything, and gives nothing away."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import synthetic_comparison

from semivox.errors import UsageError
from semivox.matrix import MATRIX_JSON
from semivox.report import cache, pictures
from semivox.report.page import code, write_report, write_run_report

SECRET = "Mueller_Hans_1970-02-03"
MOST_BYTES = 8_000_000


class Reader(HTMLParser):
    """Ids, visible text, and what a browser would ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.asked: list[str] = []
        self.text = ""
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("script", "style")
        found = dict(attributes)
        self.ids += [value for key, value in attributes if key == "id" and value]
        for key in ("src", "srcset", "data", "poster", "action", "xlink:href"):
            self.asked += [str(found[key])] if key in found else []
        if "href" in found and tag in ("link", "image", "use", "base"):
            self.asked.append(str(found["href"]))

    def handle_data(self, text: str) -> None:
        self.text += "" if self.hidden else text


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, two seeds, two label counts, a component left out, one failed run, a missed structure."""
    out = tmp_path_factory.mktemp(SECRET) / "out"
    synthetic_comparison(out, ("supervised", "mean_teacher", "caml"), labeled=(4, 8), dropped={"caml": ["occ"]},
                         cases=8, classes=3, states={("mean_teacher", 1): "failed"}, missed=[("supervised", 0, 2)])
    return out


@pytest.fixture(scope="module")
def page(comparison: Path) -> str:
    return write_report(comparison).read_text(encoding="utf-8")


def test_the_answer_comes_first_and_every_section_is_there(page: str) -> None:
    found = Reader(page)
    assert page.index("<h1>") < page.index("<section")
    assert re.search(r"<h1>CAML.*Dice.* with 4 labeled cases", page)
    for title in ("By how much", "How sure", "Would more labels help?", "Missed structures", "Not complete"):
        assert title in found.text
    for name in ("asked", "scores", "cases", "labels", "curves", "agreement", "pictures", "surfaces", "data",
                 "protocol", "cost", "failed", "published", "repeat"):
        assert name in found.ids, name
    assert len(found.ids) == len(set(found.ids))


def test_numbers_of_the_table_are_in_the_page_and_beside_it(comparison: Path, page: str) -> None:
    tables = comparison / "tables"
    assert {path.name for path in tables.iterdir()} >= {"main.csv", "main.md", "main.tex", "paired.csv"}
    line = next(line for line in (tables / "main.md").read_text().splitlines() if line.startswith("| CAML |"))
    dice = line.split("|")[3].split("±")[0].strip()
    assert f">{dice} <small>±" in page
    assert "supervised (all labels)" in page
    assert "1 of " in Reader(page).text  # the missed structure


def test_every_case_is_in_a_table_of_its_own(page: str) -> None:
    rows = re.findall(r'<th scope="row" data-value="(ball_\d+)">', page)
    assert sorted(rows) == [f"ball_{number:03d}" for number in range(1, 9)]


def test_failed_runs_are_shown_with_their_error_and_the_way_out(page: str) -> None:
    text = Reader(page).text
    assert "the loss is not finite at step 12" in text
    assert "lower optimizer.lr" in text


def test_nothing_is_asked_from_the_network(page: str) -> None:
    found = Reader(page)
    assert all(link.startswith(("data:", "#")) for link in found.asked)
    assert not re.findall(r"https?://", page)
    assert not re.findall(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < MOST_BYTES


def test_neither_folders_nor_names_in_them_appear(comparison: Path, page: str) -> None:
    for secret in (SECRET, str(comparison), str(comparison.parent), "/home/someone", str(Path.home()) + "/"):
        assert secret not in page
    assert not re.findall(r"(?:^|[\s\"'(])(?:/[\w.-]+){2,}", Reader(page).text)


def test_what_comes_from_files_is_escaped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthetic_comparison(out, cases=3, states={("mean_teacher", 1): "failed"})
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    text = (out / MATRIX_JSON).read_text().replace('"balls"', json.dumps(evil))
    (out / MATRIX_JSON).write_text(text)
    for path in out.rglob("cases.csv"):
        path.write_text(path.read_text().replace("part 1", evil))
    for path in [*out.rglob("environment.json"), *out.rglob("job.json")]:
        path.write_text(path.read_text().replace("Example CPU", evil).replace("the loss is not finite", evil))
    page = write_report(out).read_text()
    assert page.count("<script") == 3  # ours: the scene and two programs, and none of theirs
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_words_between_backticks_are_code_and_nothing_else_gets_through() -> None:
    assert code("run `semivox check <x>` & <b>") == "run <code>semivox check &lt;x&gt;</code> &amp; &lt;b&gt;"


def test_several_classes_have_scores_surfaces_and_a_choice_of_their_own(page: str) -> None:
    assert "Dice of each class" in page
    assert 'id="viewer-structure"' in page
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', page, re.DOTALL)[1])
    assert scene["structures"] == ["part 1", "part 2"]
    assert {key.split("|")[1] for key in scene["meshes"]} >= {"reference", "0", "1"}


def test_the_second_time_is_quick_and_the_same(comparison: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "load_volumes", None)  # from the cache
    start = time.monotonic()
    assert write_report(comparison).read_text(encoding="utf-8") == page
    assert time.monotonic() - start < 30


def test_other_predictions_are_drawn_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthetic_comparison(out, seeds=(0,), cases=3)
    write_report(out)
    before = {path.name: path.read_text() for path in (out / cache.FOLDER).glob("case-*.json")}
    for path in out.rglob("predictions/last/*.nii.gz"):
        path.touch()
    write_report(out)
    after = {path.name: path.read_text() for path in (out / cache.FOLDER).glob("case-*.json")}
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


def test_the_store_is_shown_when_it_is_there(tmp_path: Path, toy_store) -> None:
    out = tmp_path / "out"
    synthetic_comparison(out, seeds=(0,), store=toy_store.path)
    text = Reader(write_report(out).read_text()).text
    assert "every file with its checksum" in text.replace("\n", " ")
    assert "The store has changed since these runs were made" in text  # its digest is not that of the runs
    assert "Intensities of the training images" in text


def test_without_the_store_the_page_says_what_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthetic_comparison(out, seeds=(0,), cases=3)
    (tmp_path / "out-store").rename(tmp_path / "elsewhere")
    page = write_report(out).read_text()
    assert "The store is not where it was" in page
    assert "The test scans and their references are not where they were" in page
    assert 'id="viewer"' not in page


def test_when_nothing_is_finished_nothing_is_claimed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    matrix = synthetic_comparison(out, seeds=(0,), cases=2)
    for spec in matrix.runs:
        job = out / spec.path / "job.json"
        job.write_text(job.read_text().replace('"done"', '"training"'))
    text = Reader(write_report(out).read_text()).text
    assert "No run is finished yet, so there is no answer yet." in text
    assert "wins" not in text


def test_a_single_run_has_the_page_in_small(comparison: Path, tmp_path: Path) -> None:
    run = next(comparison.rglob("caml/default-steps_40/labeled_4/seed_0"))
    page = write_report(run, tmp_path / "run.html").read_text()
    found = Reader(page)
    assert "One run says nothing about its method" in found.text
    assert {"scores", "curves", "pictures", "surfaces", "cost", "repeat"} <= set(found.ids)
    assert "labels" not in found.ids
    assert SECRET not in page
    assert not (run / "tables").exists()


def test_a_run_without_predictions_shows_curves_validation_and_data(trained_run, tmp_path: Path) -> None:
    page = write_report(trained_run, tmp_path / "run.html").read_text()
    found = Reader(page)
    assert "so the page shows curves, validation and data" in found.text or "no scores yet" in found.text
    assert {"curves", "data", "repeat"} <= set(found.ids)
    assert {"scores", "pictures"}.isdisjoint(found.ids)
    assert str(trained_run.parent) not in page


def test_a_run_with_neither_test_nor_validation_cases_gets_no_page(tmp_path: Path) -> None:
    out = tmp_path / "out"
    matrix = synthetic_comparison(out, seeds=(0,), cases=2, validation=0)
    run = out / matrix.runs[0].path
    origin = json.loads((run / "run.json").read_text())
    origin["split"]["test"] = []
    (run / "run.json").write_text(json.dumps(origin))
    assert write_run_report(run) is None
    origin["split"]["test"] = ["ball_001", "ball_002"]
    (run / "run.json").write_text(json.dumps(origin))
    assert write_run_report(run) == run / "report.html"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a comparison"):
        write_report(tmp_path)
    synthetic_comparison(tmp_path / "out", seeds=(0,), cases=2)
    with pytest.raises(UsageError, match="is a folder"):
        write_report(tmp_path / "out", tmp_path)
