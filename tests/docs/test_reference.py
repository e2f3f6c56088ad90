"""What the pages say about the code is what the code says."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from doc_pages import DOCS, PAGES, ROOT, fenced, name_of

import semivox
from semivox import errors
from semivox.config import SECTIONS
from semivox.methods import METHODS, get_method
from semivox.methods.mean_teacher import MeanTeacher

SOURCE = Path(semivox.__file__).parent
EXIT_CODES = DOCS / "reference" / "exit-codes.md"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = script("reference")


@pytest.mark.parametrize("name", REFERENCE.PAGES)
def test_written_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == REFERENCE.PAGES[name](), "run: PYTHONPATH=src python docs/scripts/reference.py"


def test_configuration_page_has_a_row_for_every_field() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    groups = [(section, section, cls) for section, cls in SECTIONS.items()]
    groups += [(name, "method", get_method(name).Config) for name in METHODS]
    for heading, section, cls in groups:
        (part,) = re.findall(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        for field in fields(cls):
            (row,) = re.findall(rf"^\| `{section}\.{field.name}` \|.*$", part, re.MULTILINE)
            assert all(cell.strip() for cell in row.strip("|").split(" | ")), row


def test_legal_values_are_put_into_words() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert "| `data.labeled` | `null` | whole number > 0, `null` |" in page
    assert "| `network.dropout` | `null` | number ≥ 0, < 1, `null` |" in page
    assert "| `engine.precision` | `\"auto\"` | `auto`, `fp32`, `bf16` |" in page
    assert "| `data.patch_size` | plan | 3 times: whole number > 0 |" in page
    assert "| `method.rampup_steps` | `6000`, scaled | whole number ≥ 0 |" in page


def test_meanings_beside_the_code_are_only_for_fields_without_a_docstring() -> None:
    documented = {f"{section}.{name}" for section, cls in SECTIONS.items() for name in REFERENCE.field_docstrings(cls)}
    known = {f"{section}.{field.name}" for section, cls in SECTIONS.items() for field in fields(cls)}
    beside = {path for path in REFERENCE.MEANINGS if path.partition(".")[0] in SECTIONS}
    assert beside <= known
    assert beside & documented == set()


def test_exit_codes_are_those_of_the_errors() -> None:
    page = EXIT_CODES.read_text(encoding="utf-8").partition("## Error lines")[0]
    kinds = [errors.SemivoxError, *errors.SemivoxError.__subclasses__()]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == {0, 130, *(kind.exit_code for kind in kinds)}


def test_every_code_of_the_program_is_listed_once_and_no_other() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    used = set(re.findall(r'"([DIJCKPT]\d{1,2})"', source)) | set(re.findall(r"SVX-([A-Z]\d{1,2})\b", source))
    page = EXIT_CODES.read_text(encoding="utf-8").partition("## Codes")[2]
    listed = [code for cell in re.findall(r"^\| ([A-Z]\d[^|]*) \|", page, re.MULTILINE) for code in cell.split(", ")]
    assert sorted(listed) == sorted(used)


def test_error_lines_of_the_page_have_the_form_that_it_states() -> None:
    blocks = [block for block in fenced(EXIT_CODES, "text") if block.startswith("ERROR")]
    assert blocks
    assert all(re.fullmatch(r"ERROR SVX-[A-Z]\d+  [^:]+: .+\.  Fix: .+\.\n", block) for block in blocks)


def test_readme_shows_the_two_commands_first() -> None:
    first = next(fenced(ROOT / "README.md", "bash"))
    assert re.findall(r"^make \w+", first, re.MULTILINE) == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make ([\w-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name_of(page)}: make {target}"


def test_readme_shows_the_method_as_it_is() -> None:
    (shown,) = fenced(ROOT / "README.md", "python")
    source = iter(inspect.getsource(MeanTeacher).splitlines())
    missing = [line for line in shown.splitlines() if line and not any(line == found for found in source)]
    assert missing == []
    assert "def forward" in shown
    assert "def predictor" in shown


def test_readme_and_navigation_know_every_method() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = script("navigation").pages(DOCS, "methods")
    assert pages[0] == "methods/supervised.md"
    for name, entry in METHODS.items():
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", text, re.MULTILINE)
        assert str(entry.year) in row
        assert entry.venue in row
        assert f"methods/{name}.md" in pages


def test_a_section_without_pages_is_not_in_the_navigation(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "b.md").write_text("# B")
    config = {"docs_dir": str(tmp_path), "nav": ["index.md", {"Methods": []}, {"Benchmarks": []}, {"More": ["x.md"]}]}
    assert script("navigation").on_config(config)["nav"] == [
        "index.md", {"Methods": ["methods/b.md"]}, {"More": ["x.md"]}]


@pytest.mark.parametrize("page", [page for page in PAGES if list(fenced(page, "python"))], ids=name_of)
def test_python_of_the_pages_imports_what_exists(page: Path) -> None:
    for block in fenced(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semivox"):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_parameter_counts_of_the_network_table_are_true() -> None:
    page = (DOCS / "how-to" / "use-a-monai-network.md").read_text(encoding="utf-8")
    from semivox.networks import NETWORKS, network_factory
    from semivox.types import Task

    rows = re.findall(r"^\| `(\w+)` \| (\d) \| ([\d,]+) with (\d) classes", page, re.MULTILINE)
    assert {name for name, *_ in rows} == set(NETWORKS)
    for name, dimensions, count, classes in rows:
        task = Task(dimensions=int(dimensions), channels=1, classes=int(classes), labeled_cases=1)
        found = sum(value.numel() for value in network_factory(name, task=task)().parameters())
        assert found == int(count.replace(",", ""))


def test_monai_table_is_that_of_the_code() -> None:
    from semivox.networks.table import MONAI_MULTIPLES

    page = (DOCS / "how-to" / "use-a-monai-network.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`monai:.*) \| (\d+) \|$", page, re.MULTILINE)
    listed = {name: int(multiple) for names, multiple in rows for name in re.findall(r"monai:(\w+)", names)}
    assert listed == MONAI_MULTIPLES
