"""The page in a real browser, as wide as a phone and as a desk: nothing is asked for, tables sort, surfaces turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import synthetic_comparison

from semivox.report.page import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1440)
COUNT_DRAWN = """() => {
    const canvas = document.getElementById("viewer");
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let drawn = 0;
    let sum = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i]) { drawn += 1; sum = (sum * 31 + data[i - 1] + i) % 1000003; }
    return [drawn / (canvas.width * canvas.height), sum];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed; .ci/run installs it where it can")
    with api.sync_playwright() as tool:
        running = tool.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three methods on two classes."""
    out = tmp_path_factory.mktemp("browser") / "out"
    synthetic_comparison(out, ("supervised", "mean_teacher", "caml"), labeled=(4, 8), cases=6, classes=3,
                         states={("mean_teacher", 1): "failed"})
    return write_report(out)


class Opened:
    """A page with everything that the browser had to say about it."""

    def __init__(self, browser: Any, file: Path, width: int) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.resolve().as_uri())


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width} px")
def opened(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The report at one width; afterwards nothing may have been said and nothing asked for."""
    found = Opened(browser, report, request.param)
    yield found
    found.page.wait_for_timeout(200)
    found.page.close()
    assert found.said == []
    assert [url for url in found.asked if not url.startswith("data:")] == [report.resolve().as_uri()]


def test_the_page_fits_the_screen(opened: Opened) -> None:
    wide = opened.page.evaluate("""() => Array.from(document.querySelectorAll("body *"))
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, nav, svg, pre"))
        .map((e) => `${e.tagName}.${e.className}`)""")
    assert wide == []
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_answer_is_read_first(opened: Opened) -> None:
    box = opened.page.locator("h1").bounding_box()
    assert box["y"] + box["height"] < 500
    assert opened.page.evaluate("parseFloat(getComputedStyle(document.querySelector('.findings p')).fontSize)") >= 15


def test_a_click_on_a_heading_sorts_and_another_turns_the_order(opened: Opened) -> None:
    head = opened.page.locator("#scores thead th").nth(2)
    column = """() => Array.from(document.querySelectorAll("#scores table.sortable tbody tr"))
        .map((row) => row.cells[2].dataset.value).filter(Boolean).map(Number)"""
    head.locator("button").click()
    falling = opened.page.evaluate(column)
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 2
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert opened.page.evaluate(column) == falling[::-1]
    assert head.get_attribute("aria-sort") == "ascending"


def test_names_sort_as_text(opened: Opened) -> None:
    opened.page.locator("#scores thead th button").first.click()
    names = opened.page.evaluate("""() => Array.from(document.querySelectorAll("#scores table.sortable tbody tr"))
        .map((row) => row.cells[0].dataset.value)""")
    assert names == sorted(names, key=str.lower)


def test_a_chip_hides_and_shows_contours(opened: Opened) -> None:
    chip = opened.page.locator("#pictures button.chip").nth(1)
    paths = f'#pictures path[data-row="{chip.get_attribute("data-row")}"]'
    assert opened.page.locator(paths).count() == 9
    chip.click()
    assert opened.page.locator(f"{paths}[hidden]").count() == 9
    chip.click()
    assert opened.page.locator(f"{paths}[hidden]").count() == 0


def test_surfaces_are_drawn_and_turn(opened: Opened) -> None:
    canvas = opened.page.locator("#viewer")
    canvas.scroll_into_view_if_needed()
    share, before = opened.page.evaluate(COUNT_DRAWN)
    assert 0.02 < share < 0.9
    assert int(canvas.get_attribute("data-triangles")) > 100
    box = canvas.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] / 2 + 90, box["y"] + box["height"] / 2 + 20, steps=4)
    opened.page.mouse.up()
    opened.page.wait_for_timeout(150)
    share, after = opened.page.evaluate(COUNT_DRAWN)
    assert share > 0.02
    assert after != before
    canvas.press("ArrowLeft")
    opened.page.wait_for_timeout(150)
    assert opened.page.evaluate(COUNT_DRAWN)[1] != after


@pytest.mark.parametrize(("name", "value"), [("mode", "overlay"), ("mode", "reference"), ("method", "1"), ("case", "2"),
                                             ("structure", "1")])
def test_the_viewer_shows_what_is_chosen(opened: Opened, name: str, value: str) -> None:
    before = opened.page.evaluate(COUNT_DRAWN)
    opened.page.locator(f"#viewer-{name}").select_option(value)
    opened.page.wait_for_timeout(150)
    share, after = opened.page.evaluate(COUNT_DRAWN)
    assert share > 0.005
    assert after != before[1]


def test_paper_shows_everything(opened: Opened) -> None:
    opened.page.emulate_media(media="print")
    opened.page.set_viewport_size({"width": 720, "height": 1000})  # A4 with margins
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("details:not([open])").count() == 0
    assert not opened.page.locator("nav.contents").is_visible()
    assert opened.page.evaluate("document.querySelector('#scores table').getBoundingClientRect().right <= innerWidth")
    assert len(opened.page.pdf()) > 20_000
