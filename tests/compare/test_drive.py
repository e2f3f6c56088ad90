"""What a comparison makes of its runs: those that fail are named, the others are done, the same call does the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from matrix_material import tiny_comparison

from semivox.compare.board import state_table, statuses
from semivox.compare.drive import missing, work_off
from semivox.compare.execution import Options
from semivox.errors import BusyError, PartialFailure, SemivoxError, StoppedError
from semivox.matrix import JobRecord, read_job, write_job

FAULT = {"code": "T9", "subject": "run", "problem": "it diverged", "fix": "lower the rate", "exit_code": 8}


class Scripted:
    """An executor that ends runs as told."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.given = codes, []

    def execute(self, out: Path, run_paths: Sequence[str], options: Options) -> Iterator[tuple[str, int]]:
        self.given = list(run_paths)
        for path, code in zip(run_paths, self.codes, strict=False):
            state = {0: "done", 8: "failed", 75: "stopped"}.get(code, "training")
            if code != 6:
                write_job(out / path, JobRecord(state=state, error=FAULT if code == 8 else None, attempts=1,
                                                seconds={"train": 61.0}))
            yield path, code


def drive(out: Path, matrix, executor: Scripted) -> tuple[list[str], SemivoxError | None]:
    lines: list[str] = []
    try:
        work_off(out, matrix, executor, Options(1), speeds={}, say=lines.append)
    except SemivoxError as error:
        return lines, error
    return lines, None


@pytest.fixture
def matrix(toy_store, tmp_path: Path):
    return tiny_comparison(toy_store, tmp_path, labeled=(2, 3))


def test_failure_is_shown_and_tried_again_alone(matrix, tmp_path: Path) -> None:
    first = Scripted(0, 8, 0)
    lines, error = drive(tmp_path, matrix, first)
    assert [line.partition(":")[0] for line in lines] == ["done", "failed", "done"]
    assert "supervised (all labels), all labeled, seed 0: SVX-T9  run: it diverged.  Fix: lower the rate." in lines[1]
    assert lines[0] == "done: supervised, 2 labeled, seed 0 (1:01)"
    assert isinstance(error, PartialFailure)
    assert "1 of 3 runs failed (supervised (all labels), all labeled, seed 0)" in str(error)

    second = Scripted(0)
    assert drive(tmp_path, matrix, second)[1] is None
    assert second.given == [matrix.runs[1].path]
    assert missing(tmp_path, matrix) == []


def test_process_that_was_killed_is_noted_as_failed(matrix, tmp_path: Path) -> None:
    lines, error = drive(tmp_path, matrix, Scripted(-9, 0, 3))
    assert isinstance(error, PartialFailure)
    record = read_job(tmp_path / matrix.runs[0].path)
    assert (record.state, record.error["code"], record.error["exit_code"]) == ("failed", "T6", 5)
    assert "most likely because memory ran out" in lines[0]
    assert "ended with exit code 3" in lines[2]


@pytest.mark.parametrize(("code", "kind"), [(75, StoppedError), (6, BusyError)])
def test_runs_that_are_not_done_have_the_last_word(matrix, tmp_path: Path, code: int, kind: type) -> None:
    _, error = drive(tmp_path, matrix, Scripted(0, code, 0))
    assert type(error) is kind
    assert len(missing(tmp_path, matrix)) == 1


def test_table_shows_states_steps_and_errors(matrix, tmp_path: Path) -> None:
    drive(tmp_path, matrix, Scripted(0, 8))
    (tmp_path / matrix.runs[2].path).mkdir(parents=True)
    rows = [{"step": step, "seconds_per_step": 30.0} for step in (1, 2)]
    text = "\n".join(map(json.dumps, rows)) + '\n{"step": 3, "secon'
    (tmp_path / matrix.runs[2].path / "metrics.jsonl").write_text(text)
    write_job(tmp_path / matrix.runs[2].path, JobRecord(state="training", attempts=1))
    found = statuses(tmp_path, matrix)
    assert [(row.state, row.step, row.seconds_left) for row in found] == [
        ("done", 4, 0.0), ("failed", 0, None), ("training", 2, 60.0)]

    from rich.console import Console
    console = Console(width=200, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(state_table(found))
    lines = console.export_text().splitlines()
    assert "SVX-T9  run: it diverged" in lines[2]
    assert lines[3].split()[-3:] == ["2/4", "1:00", "left"]
    assert state_table(found, limit=2).row_count == 2
