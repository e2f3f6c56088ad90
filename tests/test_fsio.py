from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import pytest

from semivox import fsio
from semivox.errors import InputError
from semivox.fsio import (
    atomic_file,
    atomic_folder,
    finite_or_none,
    read_json,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)


class Interrupted(BaseException):
    pass


def write_half(path: Path, failure: type[BaseException]) -> None:
    path.write_text("half")
    raise failure


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_gets_its_name_when_it_is_complete_and_never_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scan.nii.gz"
    with atomic_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith("scan.nii.gz")  # writers that go by the ending write the right format
        temporary.write_bytes(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert names(path.parent) == ["scan.nii.gz"]


@pytest.mark.parametrize("failure", [ValueError, OSError, Interrupted, KeyboardInterrupt])
def test_failure_leaves_the_earlier_file_and_nothing_else(failure: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(failure), atomic_file(path) as temporary:
        write_half(temporary, failure)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.json"]


def test_folder_gets_its_name_when_it_is_complete_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "case"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["inner"]
    assert (path / "inner" / "new").read_text() == "new"
    assert names(tmp_path) == ["case"]


def test_failure_leaves_the_earlier_folder_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "case"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(Interrupted), atomic_folder(path) as temporary:
        write_half(temporary / "half", Interrupted)
    assert names(path) == ["old"]
    assert names(tmp_path) == ["case"]


def test_remains_of_a_killed_process_with_the_same_id_are_not_mixed_in(tmp_path: Path) -> None:
    remains = tmp_path / f".tmp-{os.getpid()}-case"
    remains.mkdir()
    (remains / "stale").write_text("stale")
    with atomic_folder(tmp_path / "case") as temporary:
        (temporary / "new").write_text("new")
    assert names(tmp_path / "case") == ["new"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_content_is_durable_before_the_name_and_the_name_afterwards(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    real = {"fsync": os.fsync, "rename": os.rename, "replace": os.replace}
    monkeypatch.setattr(fsio.os, "fsync", lambda number: events.append(
        ("fsync", Path(os.readlink(f"/proc/self/fd/{number}")).name)) or real["fsync"](number))
    for name in ("rename", "replace"):
        monkeypatch.setattr(fsio.os, name, lambda old, new, call=real[name]: events.append(
            ("name", Path(new).name)) or call(old, new))
    place = tmp_path / "parent"
    if kind == "file":
        write_text(place / "a", "text")
        mine = f".tmp-{os.getpid()}-a"
        assert events == [("fsync", mine), ("name", "a"), ("fsync", "parent")]
    else:
        with atomic_folder(place / "b") as temporary:
            (temporary / "x").write_text("x")
            (temporary / "y").write_text("y")
        mine = f".tmp-{os.getpid()}-b"
        assert events == [("fsync", "x"), ("fsync", "y"), ("fsync", mine), ("name", "b"), ("fsync", "parent")]


# --- JSON ------------------------------------------------------------------------------------------------------


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True, "ä"], "b": {"c": {}}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_without_numbers_that_json_does_not_have(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == []
    assert finite_or_none(value) is None
    assert finite_or_none(0.5) == 0.5


@pytest.mark.parametrize(("text", "problem"), [
    (b"", "line 1, column 1"),
    (b'{"a": 1,\n "b": }', "line 2, column 7"),
    (b'{"a": 1} x', "not valid JSON at line 1, column 10"),
    (b'{"a": 1, "a": 2}', "key 'a' appears twice"),
    (b'{"x": {"a": 1, "a": 2}}', "key 'a' appears twice"),
    (b'{"a": NaN}', "NaN is not a JSON number"),
    (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
    (b'{"a": "\xff"}', "not strict JSON"),
    (b"[" * 200_000, "not strict JSON"),
    (b'{"a": ' + b"9" * 5000 + b"}", "not strict JSON"),
])
def test_json_that_is_not_strict_is_an_input_error_with_the_place(text: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert problem in caught.value.problem
    assert caught.value.subject == str(path)


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_json_that_is_missing_a_folder_or_too_large_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="file not found"):
        read_json(tmp_path / "a.json")
    monkeypatch.setattr(fsio, "MAX_JSON_BYTES", 3)
    (tmp_path / "b.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="6 bytes, the limit is 3"):
        read_json(tmp_path / "b.json")


def test_digests_are_those_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        sha256_json({"a": math.nan})
