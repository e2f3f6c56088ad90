"""Hook of mkdocs: lists the pages of methods and benchmarks, so that a new page is in the navigation by existing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SECTIONS = {"Methods": "methods", "Benchmarks": "benchmarks"}
FIRST = ("supervised.md",)


def on_config(config: Any) -> Any:
    """Fill the sections that mkdocs.yml leaves empty with the pages of their folders; drop a section without pages."""
    docs = Path(config["docs_dir"])
    filled = []
    for item in config["nav"]:
        (title, children), *_ = item.items() if isinstance(item, dict) else [(None, None)]
        if title in SECTIONS:
            children = pages(docs, SECTIONS[title])
            if not children:
                continue
            item = {title: children}
        filled.append(item)
    config["nav"] = filled
    return config


def pages(docs: Path, folder: str) -> list[str]:
    """Pages of a folder by name, the bound that everything is compared with first."""
    found = sorted((docs / folder).glob("*.md"), key=lambda path: (path.name not in FIRST, path.name))
    return [path.relative_to(docs).as_posix() for path in found]
