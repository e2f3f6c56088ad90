"""`semivox check` of a prepared store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from semivox.cli import run


def test_check_of_a_store_names_every_file_that_changed(toy_store: Any, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    store = Path(shutil.copytree(toy_store.path, tmp_path / "store"))
    assert run(["check", str(store)]) == 0
    assert "every file of the store is as it was written" in capsys.readouterr().out
    first, second = toy_store.train_order[:2]
    image, label = store / "cases" / first / "image.npy", store / "labels" / second / "label.npy"
    image.write_bytes(image.read_bytes()[:-1])
    content = bytearray(label.read_bytes())
    content[-1] ^= 1
    label.write_bytes(content)
    report = tmp_path / "report.json"
    assert run(["check", str(store), "--out", str(report)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"ERROR SVX-T19  cases/{first}/image.npy",
                                                      f"ERROR SVX-T19  labels/{second}/label.npy"]
    assert all("semivox prepare" in line for line in lines)
    assert json.loads(report.read_text())["summary"]["problems"]["error"] == 2


def test_check_of_a_store_refuses_options_that_mean_nothing_there(toy_store: Any) -> None:
    assert run(["check", str(toy_store.path), "--patient-regex", "(.)"]) == 2
