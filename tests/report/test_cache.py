"""A cached value is that of the same files, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from semivox.report.cache import FOLDER, cached, fingerprint
from semivox.report.case_files import find_cases


def never() -> None:
    raise AssertionError("built again")


def test_a_value_is_built_once_for_each_key(tmp_path: Path) -> None:
    assert cached(tmp_path, "x", "a", lambda: {"n": 1}) == {"n": 1}
    assert cached(tmp_path, "x", "a", never) == {"n": 1}
    assert cached(tmp_path, "x", "b", lambda: [2]) == [2]
    assert cached(tmp_path, "x", "b", never) == [2]


def test_nothing_is_not_kept_and_a_damaged_file_is_built_anew(tmp_path: Path) -> None:
    assert cached(tmp_path, "x", "a", lambda: None) is None
    assert cached(tmp_path, "x", "a", lambda: 3) == 3
    for content in ("{", "[]", "{}"):
        (tmp_path / FOLDER / "x.json").write_text(content)
        assert cached(tmp_path, "x", "a", lambda: 4) == 4


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("semivox.report.cache.write_json", refuse)
    assert cached(tmp_path, "x", "a", lambda: 5) == 5


def test_the_fingerprint_changes_with_size_time_and_values_but_not_with_the_place(tmp_path: Path) -> None:
    places = []
    for name in ("here", "there"):
        file = tmp_path / name / "last" / "a.nii.gz"
        file.parent.mkdir(parents=True)
        file.write_text("abc")
        os.utime(file, ns=(1, 1))
        places.append(fingerprint([file], "x"))
    assert places[0] == places[1] != fingerprint([file], "y")
    os.utime(file, ns=(2, 2))
    assert fingerprint([file], "x") != places[0]
    assert fingerprint([tmp_path / "gone"]) == fingerprint([tmp_path / "gone"])


def test_scans_are_found_by_their_reference_and_channel(tmp_path: Path) -> None:
    for name in ("labelsTs/la_0001.nii.gz", "labelsTs/b.nii.gz", "imagesTs/la_0001_0001.nii.gz",
                 "imagesTs/la_0001_0000.nii.gz", "imagesTs/b.nii.gz", "imagesTs/other_0000.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {case.name: [path.name for path in case.scans] for case in find_cases(tmp_path)}
    assert found == {"la_0001": ["la_0001_0000.nii.gz", "la_0001_0001.nii.gz"], "b": ["b.nii.gz"]}
    assert find_cases(None) == find_cases(tmp_path / "gone") == []
