"""Rules that every module of the package keeps: its size, its name, and what it never does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import semivox

PACKAGE = Path(semivox.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
           for path in sorted(PACKAGE.rglob("*.py"))}

MODULE_LINES, FUNCTION_LINES, NESTING = 250, 40, 3
BANNED_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "stuff"}
BANNED_CALLS = {"eval", "exec", "torch.load", "torch.save", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load",
                "builtins.eval", "builtins.exec"}
BANNED_METHODS = {"extractall"}
BANNED_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
BANNED_FLAGS = {"shell", "allow_pickle"}
BLOCKS = (ast.If, ast.For, ast.While, ast.Try, ast.Match)


def functions_of(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, *, is_command: bool) -> int:
    """Lines from ``def`` to the end, without the docstring; of a command without its options, which are a table."""
    first = function.body[0]
    start = first.lineno if is_command else function.lineno
    lines = (function.end_lineno or 0) - start + 1
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def depth_of(node: ast.AST) -> int:
    """Branches and loops inside each other; ``elif`` is not deeper than its ``if``, nor is a nested function."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deepest = max(deepest, depth_of(child) + (isinstance(child, BLOCKS) and not chained))
    return deepest


def banned_in(source: str) -> list[str]:
    """What runs code from files, or a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in BANNED_MODULES]
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name in BANNED_CALLS or name.partition(".")[0] in BANNED_MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] * (called in BANNED_CALLS or called.rpartition(".")[2] in BANNED_METHODS)
            found += [f"{key.arg}=True" for key in node.keywords
                      if key.arg in BANNED_FLAGS and getattr(key.value, "value", None) is not False]
    return found


def test_no_module_is_longer_than_the_ceiling() -> None:
    lengths = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}
    assert len(lengths) > 50


def test_no_function_is_longer_than_the_ceiling() -> None:
    lengths = {f"{name}:{function.name}": code_lines(function, is_command=name.startswith("cli/"))
               for name, source in SOURCES.items() for function in functions_of(source)}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_no_function_nests_deeper_than_the_ceiling() -> None:
    depths = {f"{name}:{function.name}": depth_of(function)
              for name, source in SOURCES.items() for function in functions_of(source)}
    assert {name: depth for name, depth in depths.items() if depth > NESTING} == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [name for name in SOURCES if set(Path(name).with_suffix("").parts) & BANNED_NAMES] == []


def test_nothing_is_left_to_be_done() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [name for name, source in SOURCES.items() if unfinished.search(source)] == []


def test_no_module_runs_code_from_files_or_a_shell() -> None:
    assert {name: banned for name, source in SOURCES.items() if (banned := banned_in(source))} == {}


@pytest.mark.parametrize("line", [
    "import pickle", "from joblib import load", "torch.load(path)", "eval(text)", "exec(text)", "os.system(text)",
    "subprocess.run(text, shell=True)", "archive.extractall(path)", "yaml.load(text)", "from torch import load",
    "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=flag)",
])
def test_ban_list_notices(line: str) -> None:
    assert banned_in(line)


def test_ban_list_lets_the_harmless_pass() -> None:
    assert banned_in("np.load(path, allow_pickle=False)\nnetwork.eval()\njson.load(stream)") == []


def test_nesting_is_counted_in_branches_and_loops() -> None:
    flat = """
def f():
    with open(a) as b:
        if b:
            pass
        elif c:
            pass
        elif d:
            pass
"""
    deep = """
def f():
    for a in b:
        if a:
            try:
                while d:
                    pass
            finally:
                pass
"""
    assert depth_of(functions_of(flat)[0]) == 1
    assert depth_of(functions_of(deep)[0]) == 4


def test_commands_print_through_typer_and_nothing_else_prints() -> None:
    printing = {name: [ast.unparse(node) for node in ast.walk(ast.parse(source))
                       if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
                for name, source in SOURCES.items()}
    assert {name: calls for name, calls in printing.items() if calls} == {}
