"""Disk is estimated before a run starts; what will not fit is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from run_material import tiny_config, train, train_and_stop

from semivox.engine import disk
from semivox.engine.build import build_method
from semivox.engine.checkpoint import KEPT
from semivox.engine.disk import disk_bytes
from semivox.engine.rundir import RunDirectory
from semivox.engine.train import resume_run
from semivox.errors import ResourceError

KEEPING = {"data.validation": 1, "engine.validate_every": 2, "engine.keep_weights_every": 1}


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def written(run: RunDirectory) -> int:
    return sum(file.stat().st_size for file in run.path.rglob("*.safetensors"))


@pytest.mark.parametrize(("method", "changes"), [
    ("supervised", {}), ("mean_teacher", {**KEEPING, "engine.keep_weights_every": 3, "optimizer.name": "adamw"}),
])
def test_estimate_is_what_a_run_writes_at_most(method: str, changes: dict[str, Any], toy_store, tmp_path: Path) -> None:
    run = train(toy_store, tmp_path / "run", method, changes)
    estimate = disk_bytes(build_method(run.read_config(), toy_store.plan, 2), run.read_config())
    generation = sum(file.stat().st_size for file in (run.checkpoints / "00000006").iterdir())
    best = run.weights_best_validation.stat().st_size if changes else 0
    peak = written(run) + (disk.AT_ONCE - KEPT) * generation + best  # while a new one is written
    assert estimate == pytest.approx(peak, rel=0.1)  # headers of small files


def test_weights_on_the_way_and_picked_stages_are_counted(toy_store) -> None:
    def estimate(changes: dict[str, Any]) -> int:
        config = tiny_config(toy_store, "toy_methods:Staged", changes)
        return disk_bytes(build_method(config, toy_store.plan, 2), config)

    plain, every, rarely = (estimate({"engine.keep_weights_every": every}) for every in (0, 1, 4))
    assert every - plain == 6 * (rarely - plain) > 0
    stages = [{"name": "first", "steps": 3}, {"name": "second", "steps": 3}]
    picked = [{**stages[0], "pick": "best_validation"}, stages[1]]
    common = {"data.validation": 1, "engine.validate_every": 1}
    more = estimate({**common, "engine.stages": picked}) - estimate({**common, "engine.stages": stages})
    assert more == pytest.approx(plain - (rarely - plain), rel=1e-6)  # another set of checkpoints


def test_run_that_will_not_fit_is_refused_before_anything_is_written(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ResourceError, match="GB of disk are needed, 0.0 GB are free.  Fix: free disk space") as caught:
        train(toy_store, tmp_path / "folder" / "run", "supervised")
    assert (caught.value.code, caught.value.exit_code) == ("C7", 5)
    assert not (tmp_path / "folder").exists()
    with pytest.raises(ResourceError, match="Fix: raise engine.keep_weights_every"):
        train(toy_store, tmp_path / "run", "supervised", {"engine.keep_weights_every": 1})


def test_resumed_run_needs_only_what_is_missing(
    toy_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    train_and_stop(toy_store, run.path, "supervised", after=3)
    whole = disk_bytes(build_method(run.read_config(), toy_store.plan, 2), run.read_config())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, whole - written(run)))
    assert resume_run(run.path) is True
    assert "\nDisk: about 0.0 GB needed, 0.0 GB free." in capsys.readouterr().err
