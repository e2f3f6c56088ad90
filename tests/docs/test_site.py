"""The site builds without a warning, and no link of any page leads nowhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import DOCS, PAGES, ROOT, name_of

TOOLS = ("mkdocs", "material", "mkdocstrings")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the site, and what mkdocs said."""
    missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install '.[docs]'")
    site = tmp_path_factory.mktemp("built") / "site"
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)], cwd=ROOT, text=True,
        capture_output=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False)
    assert result.returncode == 0, result.stderr
    return site, result.stderr


def test_build_gives_no_warning(built: tuple[Path, str]) -> None:
    assert "WARNING" not in built[1]


def test_every_page_is_built_and_in_the_navigation(built: tuple[Path, str]) -> None:
    site, said = built
    assert "not included in the \"nav\"" not in said
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        relative = page.relative_to(DOCS).with_suffix("")
        address = relative.parent if relative.name == "index" else relative
        assert (site / address / "index.html").is_file()
        assert address == Path() or f'href="{address.as_posix()}/"' in start, f"{relative} is not in the navigation"


def test_reference_holds_what_docstrings_say(built: tuple[Path, str]) -> None:
    page = (built[0] / "reference" / "api" / "methods" / "index.html").read_text(encoding="utf-8")
    for name in ("Method", "Method.forward", "Method.predictor", "total"):
        assert f'id="semivox.methods.base.{name}"' in page
    assert "one forward, backward and optimizer per turn" in re.sub(r"<[^>]+>", "", page)


def test_scripts_are_not_part_of_the_site(built: tuple[Path, str]) -> None:
    assert not (built[0] / "scripts").exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if target and not (page.parent / target).exists()] == []
