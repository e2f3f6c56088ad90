"""Make the picture of a report that the README shows: ``python docs/scripts/report_picture.py REPORT_HTML PNG``.

Take the report of a comparison on generated scans: pictures of real ones stay out of the repository.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, MARGIN = 1180, 22
PAPER = (245, 244, 240)
PARTS = ("header.answer", "#cases .card >> nth=0", "#cases .card >> nth=1", "#pictures article >> nth=1",
         "#surfaces .card")
"""The two figures stand side by side."""


def main(report: Path, picture: Path) -> None:
    """Take the parts one by one and put them on one sheet."""
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(report.resolve().as_uri())
        page.add_style_tag(content="nav { display: none } #viewer { height: 330px !important }")
        page.wait_for_timeout(300)
        head, left, right, case, surfaces = (Image.open(io.BytesIO(page.locator(part).screenshot())) for part in PARTS)
        browser.close()
    charts = Image.new("RGB", (case.width, max(left.height, right.height)), PAPER)
    charts.paste(left, (0, 0))
    charts.paste(right, (case.width - right.width, 0))
    parts = [head, charts, case, surfaces]
    sheet = Image.new("RGB", (WIDTH, sum(part.height + MARGIN for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, ((WIDTH - part.width) // 2, top))
        top += part.height + MARGIN
    sheet.save(picture, optimize=True)
    sys.stdout.write(f"{picture}: {sheet.width} x {sheet.height}, {picture.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
