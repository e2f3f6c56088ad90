"""The command in the report makes the same comparison again."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

from synthetic import synthetic_comparison

from semivox.report.costs import commands


def test_command_names_all_that_the_comparison_stands_on(tmp_path) -> None:
    matrix = synthetic_comparison(tmp_path / "out", cases=2, peek_every=20)
    asked = {**matrix.asked, "methods": ["caml+data.patch_size=[16,16,16]"], "set": ["data.patch_size=[16, 16, 16]"]}
    matrix = matrix._replace(asked=asked, reference="own.module:Own", validation=3)
    words = shlex.split(commands(SimpleNamespace(single=False, matrix=matrix, any_run=None))[0])
    given = {name: words[words.index(name) + 1] for name in words if name.startswith("--")}
    assert given["--methods"] == "caml+data.patch_size=[16,16,16]"
    assert given["--validation"] == "3"
    assert given["--protocol"] == matrix.protocol
    assert given["--reference"] == "own.module:Own"
    assert given["--show-test-peeking"] == "20"
    assert given["--set"] == "data.patch_size=[16, 16, 16]"
