"""What a comparison will take: measured where it can be, refused where it cannot fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matrix_material import tiny_comparison, tiny_matrix

from semivox.compare import estimate as module
from semivox.compare.board import kind_of
from semivox.compare.estimate import Cost, estimate, measured, require_memory, speeds_of, total_seconds
from semivox.compare.local import threads_of
from semivox.compare.probe import measure
from semivox.errors import ResourceError
from semivox.matrix import JobRecord, write_job

GB = 10**9


def note_pace(folder: Path, speeds: list[float], *, threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"step": step + 1, "seconds_per_step": speed}) for step, speed in enumerate(speeds)]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "environment.json").write_text(json.dumps({"devices": [], "threads": threads}))


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float | None) -> None:
    bytes_free = None if gigabytes is None else int(gigabytes * GB)
    monkeypatch.setattr(module, "available_memory_bytes", lambda: bytes_free)


def test_more_jobs_than_memory_are_refused_with_the_number_that_fits(toy_store, monkeypatch) -> None:
    matrix = tiny_matrix(toy_store, methods=("mean_teacher",), labeled=(2, 3))
    paths = [spec.path for spec in matrix.runs]
    costs = {kind_of(spec): Cost(memory=(3 if spec.method == "supervised" else 5) * GB) for spec in matrix.runs}
    free(monkeypatch, 9)
    assert require_memory(paths, matrix, costs, jobs=1) is None
    with pytest.raises(ResourceError) as caught:
        require_memory(paths, matrix, costs, jobs=3)  # the largest: 5 + 5 + 3
    assert caught.value.code == "C9"
    assert "3 runs at the same time need about 13.0 GB of memory, 9.0 GB are free" in str(caught.value)
    assert caught.value.fix == "use --jobs 1"
    assert "it may not do" in str(require_memory(paths, matrix, costs, jobs=2))
    free(monkeypatch, 2)
    with pytest.raises(ResourceError, match="smaller data.patch_size"):
        require_memory(paths, matrix, costs, jobs=1)
    free(monkeypatch, None)
    assert require_memory(paths, matrix, costs, jobs=3) is None


def test_memory_of_the_gpu_counts_too(toy_store, monkeypatch) -> None:
    matrix = tiny_matrix(toy_store)
    costs = {kind_of(spec): Cost(GB, 20 * GB, 30 * GB) for spec in matrix.runs}
    free(monkeypatch, 100)
    with pytest.raises(ResourceError, match="GB of GPU memory, 30.0 GB are free.  Fix: use --jobs 1"):
        require_memory([spec.path for spec in matrix.runs], matrix, costs, jobs=2)


def test_runs_of_the_folder_are_the_measure_of_its_time(toy_store, tmp_path: Path) -> None:
    matrix = tiny_comparison(toy_store, tmp_path, labeled=(2, 3), steps=100, settings=())
    first, upper, second = matrix.runs
    note_pace(tmp_path / first.path, [9.0] * 80 + [2.0] * 20, threads=threads_of(2))
    write_job(tmp_path / first.path, JobRecord(state="done", seconds={"train": 1.0, "predict": 30.0, "evaluate": 10.0}))
    assert measured(tmp_path, matrix, threads_of(2)) == {kind_of(first): 2.0}
    assert measured(tmp_path, matrix, threads_of(2) + 1) == {}
    note_pace(tmp_path / upper.path, [4.0] * 50, threads=threads_of(2))
    costs = {kind_of(first): Cost(seconds_per_step=2.0)}
    paths = [upper.path, second.path]
    assert speeds_of(matrix, costs) == dict.fromkeys([first.path, *paths], 2.0)
    # 50 steps of 4 s in one run and 100 in the other, at the speed of its kind; and what scoring took where it is done
    assert total_seconds(tmp_path, matrix, paths, costs, jobs=2) == 400 + 40
    assert total_seconds(tmp_path, matrix, paths, costs, jobs=1) == 600 + 80
    # alone, as estimated
    assert total_seconds(tmp_path, matrix, paths[1:], costs, jobs=1) == 200 + 40
    assert total_seconds(tmp_path, matrix, paths[1:], {}, jobs=1) is None


def test_on_other_machines_nothing_is_tried_out(toy_store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PROBE", ("false",))
    matrix = tiny_comparison(toy_store, tmp_path)
    costs = estimate(tmp_path, matrix, [spec.path for spec in matrix.runs], jobs=1, here=False)
    assert costs == {kind_of(matrix.runs[0]): Cost()}


def test_method_whose_probe_dies_is_unknown_and_the_next_is_asked(toy_store, tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "probe.py"
    script.write_text("import json, sys\nrun = json.load(sys.stdin)['runs'][0]\n"
                      "if run['wishes']['method']['name'] == 'caml': sys.exit(9)\n"
                      "print(json.dumps({'memory': 7, 'seconds_per_step': 0.5}))\n")
    monkeypatch.setattr(module, "PROBE", (module.PROBE[0], str(script)))
    out = tmp_path / "out"
    matrix = tiny_comparison(toy_store, out, methods=("caml", "cml"))
    paths = [spec.path for spec in matrix.runs]
    assert set(estimate(out, matrix, paths, jobs=1).values()) == {Cost()}  # too short to be timed, and alone
    costs = estimate(out, matrix, paths, jobs=2)
    assert {kind.partition(" ")[0]: cost for kind, cost in costs.items()} == {
        "supervised": Cost(memory=7, seconds_per_step=0.5), "caml": Cost(), "cml": Cost(memory=7, seconds_per_step=0.5)}
    script.write_text("raise SystemExit(1)")  # what is known is remembered
    assert estimate(out, matrix, paths, jobs=2) == costs


def test_probe_measures_memory_and_time(toy_store) -> None:
    matrix = tiny_matrix(toy_store, methods=("mean_teacher",))
    spec = matrix.runs[1]
    found = measure(toy_store, spec.wishes, own=500 * 10**6, timed=True)
    assert found["gpu_memory"] is None
    assert 500 * 10**6 < found["memory"] < 1000 * 10**6
    assert 0 < found["seconds_per_step"] < 60
    assert measure(toy_store, spec.wishes, own=0, timed=False)["seconds_per_step"] is None
    other = {**spec.wishes, "network": {"name": "monai:UNet"}}  # without the maps that this method needs
    assert set(measure(toy_store, other, own=0, timed=True).values()) == {None}
