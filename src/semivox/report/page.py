"""The report: one self-contained HTML file that answers in words first and shows everything behind the answer.

Nothing in it comes from the network, and a policy in its head forbids a browser to ask. All that comes from files is
escaped; folders of the machine are not in it.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

import semivox
from semivox.errors import UsageError
from semivox.fsio import write_text
from semivox.matrix import REPORT_HTML, TABLES
from semivox.report import charts, costs, setting
from semivox.report.answer import answer_section
from semivox.report.html_tables import main_view, published_view
from semivox.report.pictures import pictures_section
from semivox.report.source import Source, read_source
from semivox.report.store_facts import data_section
from semivox.report.tables import paired_rows
from semivox.report.writers import write_tables

TEMPLATES = "templates"
PAGE = "page.html.j2"


def write_report(path: Path, out: Path | None = None) -> Path:
    """Write the page of a comparison or of a single run; of a comparison also its tables as files.

    Args:
        path: folder that ``semivox compare`` or ``semivox train`` wrote.
        out: the HTML file; None is ``report.html`` in ``path``.

    Returns:
        The file.

    Raises:
        UsageError: C6, ``path`` is neither a comparison nor a run, or ``out`` is a folder.
        InputError: what describes the comparison is damaged.
    """
    target = path / REPORT_HTML if out is None else out
    if target.is_dir():
        raise UsageError("C6", target, "is a folder, expected a file for the report", "add a file name: report.html")
    source = read_source(path)
    if not source.single:
        write_tables(path / TABLES, source.table, paired_rows(source.table))
    write_text(target, render(source))
    return target


def write_run_report(run: Path) -> Path | None:
    """Write the page of a run that has just ended; None when it has neither validation nor test cases."""
    source = read_source(run)
    split = source.collected.runs[0].origin.get("split", {})
    if not split.get("test") and not split.get("validation"):
        return None
    return write_report(run)


def render(source: Source) -> str:
    """The page as text."""
    environment = Environment(loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.globals["asset"] = lambda name: Markup(_template(name))
    environment.filters["code"] = code
    environment.filters["svg"] = Markup  # figures: drawn by matplotlib, which escapes what it writes
    return environment.get_template(PAGE).render(context_of(source))


def context_of(source: Source) -> dict[str, Any]:
    """Everything that the template shows."""
    run = source.collected.runs[0].spec
    title = f"{run.label}, {source.matrix.dataset}" if source.single else source.matrix.dataset
    content: dict[str, Any] = {
        "title": title, "single": source.single, "version": semivox.__version__, "styles": source.styles,
        "answer": answer_section(source), "asked": setting.asked_facts(source),
        "protocol": setting.protocol_sentences(source), "data": data_section(source),
        "results": main_view(source) if source.finished else None, "classes": class_rows(source),
        "curves": charts.curves_section(source), "labels": charts.labels_section(source),
        "cases": charts.cases_section(source), "case_table": charts.case_table(source),
        "agreement": charts.agreement_section(source),
        "pictures": pictures_section(source), "costs": costs.cost_rows(source),
        "environments": costs.environments(source), "runs": costs.run_rows(source),
        "commands": costs.commands(source), "failures": [] if source.single else costs.failures(source),
        "published": published_view(source),
        "legend": list(dict.fromkeys(row.label for row in source.rows if row.runs or source.single)),
    }
    return {**content, "contents": contents_of(content)}


def code(text: str) -> Markup:
    """A text, escaped, in which words between backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def contents_of(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Id and title of the sections that the page has, in order."""
    pictured = not content["single"] or content["pictures"]["cases"]
    wanted = [
        ("asked", "Asked", True), ("scores", "Scores", content["results"]), ("cases", "Case by case", content["cases"]),
        ("labels", "Labels", not content["single"]), ("curves", "Learning curves", content["curves"]),
        ("agreement", "Volumes", content["agreement"]["charts"]), ("pictures", "Pictures", pictured),
        ("surfaces", "3D", content["pictures"]["scene"]), ("data", "Data", True),
        ("protocol", "Protocol", content["protocol"]), ("cost", "Cost", content["costs"]),
        ("failed", "Not finished", content["failures"]), ("published", "Published", content["published"]),
        ("repeat", "Repeat it", True),
    ]
    return [(name, title) for name, title, present in wanted if present]


def class_rows(source: Source) -> list[dict[str, Any]]:
    """Dice of each class for every row of the contest; none with a single class."""
    found = []
    for row in source.contest:
        scores = [run.scores["last"] for run in row.runs]
        names = scores[0].class_names
        if len(names) < 2:
            return []
        means = {name: [mean for each in scores if (mean := each.over_cases("dice", value).mean) is not None]
                 for value, name in names.items()}
        found.append({"label": row.label, "means": {name: sum(values) / len(values) if values else None
                                                    for name, values in means.items()}})
    return found


def _template(name: str) -> str:
    return files("semivox.report").joinpath(TEMPLATES, name).read_text(encoding="utf-8")
