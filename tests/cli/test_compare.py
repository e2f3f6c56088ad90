"""What ``semivox compare`` prints, refuses and ends with; the runs themselves are tested with their modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semivox.cli import run
from semivox.compare import estimate, local, slurm
from semivox.matrix import JobRecord, read_matrix, write_job

FAULT = {"code": "T9", "subject": "run", "problem": "it diverged", "fix": "lower the rate", "exit_code": 8}
TINY = ["--set", "network.width=4", "--set", "data.patch_size=[16,16,16]", "--steps", "4"]


@pytest.fixture
def compare(toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """``compare(*options, fail=label)`` -> (exit code, stdout, stderr); runs do nothing but end."""
    monkeypatch.setenv("COLUMNS", "200")
    written: list[Path] = []

    def report(out: Path) -> Path:
        written.append(out)
        return out / "report.html"

    monkeypatch.setattr("semivox.report.page.write_report", report)

    def call(*options: object, fail: str = "", store: Path = toy_store.path) -> tuple[int, str, str]:
        def execute(out: Path, paths: list[str], options: Any) -> Iterator[tuple[str, int]]:
            for path in paths:
                failing = read_matrix(out).run(path).label == fail
                write_job(out / path, JobRecord(state="failed" if failing else "done", error=FAULT if failing else None,
                                                attempts=1, seconds={"train": 61.0}))
                yield path, 8 if failing else 0

        monkeypatch.setattr(local, "execute", execute)
        code = run(["compare", str(store), str(tmp_path / "out"), *map(str, options)])
        said = capsys.readouterr()
        return code, said.out, said.err

    call.out, call.reports = tmp_path / "out", written
    return call


def test_matrix_is_shown_and_nothing_is_written_when_it_is_only_planned(compare) -> None:
    code, out, err = compare("--methods", "caml:released,cml-dis", "--labeled", "2,3", "--seeds", "0,1", *TINY,
                             "--plan-only")
    assert (code, err) == (0, "")
    for row in ("supervised 2 0, 1 4 0/2", "CAML (released) 3 0, 1 4 0/2", "CML without L_dis 2 0, 1 4 0/2",
                "supervised (all labels) all 0, 1 4 0/2"):
        assert row in " ".join(out.split()), out
    assert "4 steps for all" in out
    assert "- CAML (released): data.labeled_per_batch is 2 (4 elsewhere); " in out
    assert "; optimizer.schedule is constant (poly elsewhere)\n" in out
    assert "engine.stages is 1 step pretrain (constant learning rate), then 3 steps selftrain (one elsewhere)" in out
    assert "14 runs, 14 to be done: not known how long with --jobs 1." in out
    assert not compare.out.exists()


def test_runs_are_worked_off_and_reported(compare) -> None:
    code, out, err = compare("--methods", "mean_teacher", "--labeled", "2", *TINY)
    assert code == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["done"] * 3
    assert out.splitlines()[-1] == f"report: {compare.out / 'report.html'}"
    assert compare.reports == [compare.out]
    code, out, err = compare()
    assert (code, err) == (0, "")
    assert "3 runs, all done." in out


def test_failure_has_its_exit_code_and_still_a_report(compare) -> None:
    code, out, err = compare("--methods", "mean_teacher", "--labeled", "2", *TINY, fail="Mean Teacher")
    assert code == 4
    assert "failed: Mean Teacher, 2 labeled, seed 0: SVX-T9  run: it diverged.  Fix: lower the rate." in err
    assert err.splitlines()[-1].startswith(f"ERROR SVX-T26  {compare.out}: 1 of 3 runs failed (Mean Teacher, 2 labeled")
    assert "SVX-T9" in out
    assert compare.reports == [compare.out]
    code, out, err = compare()
    assert code == 0
    assert err == "done: Mean Teacher, 2 labeled, seed 0 (1:01)\n"


def test_report_that_breaks_does_not_hide_that_runs_have_failed(compare, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> Path:
        raise ZeroDivisionError("of\na figure")

    monkeypatch.setattr("semivox.report.page.write_report", broken)
    code, _, err = compare("--methods", "mean_teacher", "--labeled", "2", *TINY, fail="Mean Teacher")
    assert code == 4
    assert "WARNING: no report: of\\na figure\n" in err
    assert err.splitlines()[-1].startswith("ERROR SVX-T26")


@pytest.mark.parametrize(("options", "code", "words"), [
    ([], 2, "SVX-C2  --methods: nothing named"),
    (["--methods", "camll", "--labeled", "2"], 2, "did you mean 'caml'?"),
    (["--methods", "caml-ocd", "--labeled", "2"], 2, "did you mean 'occ'?"),
    (["--methods", "caml", "--labeled", "few"], 2, "SVX-C2  --labeled: found 'few'"),
    (["--methods", "caml", "--labeled", "2", "--seeds", "0;1"], 2, "SVX-C2  --seeds: found '0;1'"),
    (["--methods", "caml", "--labeled", "99"], 2, "SVX-D13"),
    (["--methods", "caml", "--labeled", "2", "--executor", "slrm"], 2, "did you mean 'slurm'?"),
    (["--methods", "caml", "--labeled", "2", "--ray-options", "cpus=1"], 2, "add --executor ray"),
])
def test_mistakes_are_one_line(compare, options: list[str], code: int, words: str) -> None:
    found, out, err = compare(*options)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert words in err
    assert not compare.out.exists()


def test_other_ground_is_refused(compare) -> None:
    assert compare("--methods", "mean_teacher", "--labeled", "2", *TINY)[0] == 0
    code, _, err = compare("--methods", "caml", "--steps", "5")
    assert code == 2
    assert "--steps was 4, now 5" in err


def test_too_many_jobs_are_refused_before_anything_is_written(compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "probed", lambda store, questions, threads: [estimate.Cost(memory=5 * 10**9)
                                                                               for _ in questions])
    monkeypatch.setattr(estimate, "available_memory_bytes", lambda: 6 * 10**9)
    code, _, err = compare("--methods", "mean_teacher", "--labeled", "2", *TINY, "--jobs", "2")
    assert code == 5
    assert err == ("ERROR SVX-C9  --jobs: 2 runs at the same time need about 10.0 GB of memory, 6.0 GB are free.  "
                   "Fix: use --jobs 1.\n")
    assert not compare.out.exists()


def test_cluster_is_given_the_runs_and_not_waited_for(compare, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(slurm, "submit", lambda out, paths, options: given.append((paths, options)) or "submitted")
    code, out, _ = compare("--methods", "mean_teacher", "--labeled", "2", *TINY, "--executor", "slurm", "--jobs", "7",
                           "--slurm-options", "--time=1:00:00")
    assert code == 0
    assert "submitted" in out
    (paths, options), = given
    assert paths == [spec.path for spec in read_matrix(compare.out).runs]
    assert options == (7, "--time=1:00:00")
    assert compare.reports == []


def test_store_without_tests_is_refused(compare, make_store) -> None:
    code, _, err = compare("--methods", "caml", "--labeled", "2", store=make_store(test=0).path)
    assert code == 3
    assert "SVX-D2" in err
