"""The description of a comparison: what is written is read again, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semivox.errors import InputError, UsageError
from semivox.matrix import (
    JobRecord,
    Matrix,
    RunSpec,
    from_json,
    is_job_file,
    read_job,
    read_matrix,
    runs_done,
    to_json,
    write_job,
    write_matrix,
)

SPEC = RunSpec(path="toy/caml/default-without_occ-steps_20-draw_1/labeled_4/seed_0", method="caml", profile="default",
               dropped=("occ",), variant="default-without_occ-steps_20-draw_1", labeled=4, draw=1, seed=0, steps=20,
               role="method", wishes={"method": {"name": "caml", "drop": ["occ"]}, "data": {"labeled": 4}})
BOUND = RunSpec(path="toy/supervised/default-steps_20/labeled_all/seed_0", method="supervised", profile="default",
                dropped=(), variant="default-steps_20", labeled="all", draw=None, seed=0, steps=20,
                role="upper_bound", wishes={"method": {"name": "supervised"}, "data": {"labeled": None}})
MATRIX = Matrix(semivox_version="0", dataset="toy", store="/stores/toy", store_digest="1" * 64, protocol="clinical",
                reference="supervised", validation=0, peek_every=None, asked={"methods": ["caml-occ"]},
                runs=(SPEC, BOUND), footnotes=({"methods": ["CAML without OCC"], "text": "something"},))


def test_matrix_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_matrix(tmp_path, MATRIX)
    assert read_matrix(tmp_path) == MATRIX
    written = json.loads((tmp_path / "matrix.json").read_text())
    assert (written["format"], written["kind"], written["peek_every"]) == (1, "semivox-comparison", None)
    assert written["runs"][0]["dropped"] == ["occ"]
    assert MATRIX.run(SPEC.path) is SPEC
    with pytest.raises(UsageError, match="no run of this comparison"):
        MATRIX.run("toy/other")


@pytest.mark.parametrize(("change", "words"), [
    ({"kind": "other"}, "kind 'other'"),
    ({"format": 2}, "format 2"),
    ({"protocol": "mine"}, "protocol: unknown value 'mine'"),
    ({"protocl": "clinical"}, "protocl: unknown key"),
    ({"validation": "10"}, "validation: found '10', a whole number is needed"),
    ({"runs": [{"path": "a"}]}, "runs[0].method: this key is missing"),
    ({"runs": [{**to_json(MATRIX)["runs"][0], "seeds": 1}]}, "runs[0].seeds: unknown key"),
])
def test_what_is_no_matrix_is_refused_with_the_key(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json({**to_json(MATRIX), **change})
    assert caught.value.code == "J4"
    assert words in str(caught.value)


def test_missing_key_and_missing_file_are_named(tmp_path: Path) -> None:
    content = to_json(MATRIX)
    del content["store"]
    with pytest.raises(InputError, match="store: this key is missing"):
        from_json(content)
    with pytest.raises(UsageError, match=r"no matrix\.json in it"):
        read_matrix(tmp_path)


@pytest.mark.parametrize(("changes", "label"), [
    ({}, "CAML without OCC"),
    ({"dropped": (), "variant": "default-steps_20"}, "CAML"),
    ({"dropped": ("occ", "cross"), "variant": "default-without_occ_cross-steps_20"}, "CAML without OCC and cross"),
    ({"profile": "released", "dropped": (), "variant": "released-steps_20"}, "CAML (released)"),
    ({"method": "supervised", "dropped": (), "variant": "default-labeled_per_batch_2-steps_20"},
     "supervised (labeled per batch 2)"),
    ({"method": "my.module:Mine", "dropped": (), "variant": "default-steps_20"}, "Mine"),
])
def test_label_says_what_differs(changes: dict[str, Any], label: str) -> None:
    spec = SPEC._replace(**changes)
    assert spec.label == label
    assert spec.row == (label, 4)


def test_label_of_the_upper_bound() -> None:
    assert BOUND.label == "supervised (all labels)"


def test_run_without_job_file_waits(tmp_path: Path) -> None:
    assert read_job(tmp_path) == JobRecord()
    assert runs_done(tmp_path, MATRIX) == []
    done = JobRecord(state="done", attempts=1, seconds={"train": 2.5}, peak_memory_mb=812.5)
    write_job(tmp_path / BOUND.path, done)
    write_job(tmp_path / SPEC.path, JobRecord(state="failed", error={"code": "T9"}, attempts=2))
    assert read_job(tmp_path / BOUND.path) == done
    assert runs_done(tmp_path, MATRIX) == [BOUND]


def test_damaged_job_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"state": "happy"}')
    with pytest.raises(InputError, match=r"job\.json: state: unknown value 'happy'"):
        read_job(tmp_path)


def test_files_of_a_job_are_known() -> None:
    assert [is_job_file(name) for name in ("job.json", "job.log", ".job-lock", ".tmp-12-job.json")] == [True] * 4
    assert [is_job_file(name) for name in ("config.json", ".tmp-12-config.json", "checkpoints")] == [False] * 3
