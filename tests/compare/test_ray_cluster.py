"""Runs on a real Ray cluster of this machine: a head without cores and two workers, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_material import add_worker, is_alive, kill_machine_of, ray_cluster_of_two, wait_until

from semivox.compare import ray_cluster
from semivox.compare.execution import Options
from semivox.compare.ray_cluster import (
    Demand,
    execute,
    job_environment,
    read_demand,
    require_usable,
    resources,
    run_job,
)
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.errors import ResourceError, StoppedError, UsageError
from semivox.matrix import read_job

JOB = """\
import json, os, sys, time
from pathlib import Path
from semivox.compare.stop import end_with_driver
end_with_driver()
out, run = Path(sys.argv[1]), sys.argv[2]
folder = out / run
folder.mkdir(parents=True, exist_ok=True)
attempt = 1 + len(list(folder.glob("attempt_*.json")))
(folder / f"attempt_{attempt}.json").write_text(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "threads": os.environ["OMP_NUM_THREADS"]}))
print(f"{run}, attempt {attempt}", flush=True)
plan = json.loads((out / "plan.json").read_text())[run]
time.sleep(plan["seconds"][min(attempt, len(plan["seconds"])) - 1])
(folder / "done").touch()
sys.exit(plan["codes"][min(attempt, len(plan["codes"])) - 1])
"""


class Jobs:
    """A folder with a script in place of the job: it says that it started, sleeps, and exits as planned."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        self.script = folder / "job.py"
        self.script.write_text(JOB)
        self.planned: dict[str, dict[str, list[float]]] = {}

    def plan(self, run: str, *, seconds: list[float], codes: list[int]) -> str:
        """Entry n of both lists is for attempt n, the last one for those after it."""
        self.planned[run] = {"seconds": seconds, "codes": codes}
        (self.out / "plan.json").write_text(json.dumps(self.planned))
        return run

    def command(self, out: Path, run: str) -> list[str]:
        """In place of ``execution.job_command``."""
        return ["python", str(self.script), str(out), run]

    def run(self, run: str, threads: int = 1) -> int:
        return run_job(self.command(self.out, run)[1:], str(self.log_file(run)), threads)

    def log_file(self, run: str) -> Path:
        return self.out / run / "job.log"

    def attempts(self, run: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.out / run).glob("attempt_*.json"))]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs(tmp_path)
    monkeypatch.setattr(ray_cluster, "job_command", made.command)
    return made


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, ray_cluster_of_two(patch) as made:
        yield made


@pytest.fixture
def cluster(shared_cluster: Any) -> Any:
    """Two workers, also after a test that killed one."""
    while len(shared_cluster.worker_nodes) < 2:
        add_worker(shared_cluster)
    return shared_cluster


def test_runs_of_a_killed_machine_end_on_another(cluster: Any, jobs: Jobs) -> None:
    fine = jobs.plan("toy/caml/seed_0", seconds=[0.5], codes=[0])
    failing = jobs.plan("toy/caml/seed_1", seconds=[0], codes=[8])
    lost = jobs.plan("toy/cml/seed_0", seconds=[120, 0.5], codes=[0])
    stopped = jobs.plan("toy/cml/seed_1", seconds=[0], codes=[75])
    ends: dict[str, int] = {}
    running = execute(jobs.out, [lost, fine, failing, stopped], Options())
    while len(ends) < 3:  # the others go on beside it
        path, code = next(running)
        ends[path] = code
    assert ends == {fine: 0, failing: 8, stopped: 75}
    assert jobs.attempts(fine)[0]["threads"] == "1"

    (first,) = jobs.attempts(lost)
    kill_machine_of(cluster, first["parent"])
    assert next(running) == (lost, 0)
    assert next(running, None) is None
    assert (jobs.out / lost / "done").exists()
    assert len(jobs.attempts(lost)) == 2
    assert jobs.attempts(lost)[1]["parent"] != first["parent"]
    wait_until(lambda: not is_alive(first["pid"]))  # it does not go on behind the back of the second attempt
    assert jobs.log_file(lost).read_text().splitlines() == [f"{lost}, attempt 1", f"{lost}, attempt 2"]


def test_run_that_is_lost_for_good_is_a_failed_one(cluster: Any, jobs: Jobs) -> None:
    run = jobs.plan("toy/cml/seed_0", seconds=[120], codes=[0])
    running = execute(jobs.out, [run], Options(settings="retries=0"))
    killer = threading.Thread(target=lambda: (wait_until(lambda: jobs.attempts(run)),
                                             os.kill(jobs.attempts(run)[0]["parent"], signal.SIGKILL)))
    killer.start()
    assert list(running) == [(run, ResourceError.exit_code)]
    killer.join()
    job = read_job(jobs.out / run)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["exit_code"]) == ("T6", 5)
    assert len(jobs.attempts(run)) == 1


def test_driver_that_stops_takes_its_runs_with_it(cluster: Any, jobs: Jobs) -> None:
    import ray

    long = jobs.plan("toy/cml/seed_0", seconds=[120], codes=[0])
    quick = jobs.plan("toy/cml/seed_1", seconds=[0], codes=[0])
    running = execute(jobs.out, [long, quick], Options())
    assert next(running) == (quick, 0)
    wait_until(lambda: jobs.attempts(long))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(StoppedError, match="SIGTERM"):
        next(running)
    assert not ray.is_initialized()
    wait_until(lambda: not is_alive(jobs.attempts(long)[0]["pid"]))
    assert not (jobs.out / long / "done").exists()

    with pytest.raises(UsageError, match="a run takes 2 CPUs"):  # and the cluster can be used again
        next(execute(jobs.out, [long], Options(settings="cpus=2")))


def test_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'semivox[cluster]'")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(ResourceError, match="RAY_ADDRESS"):
        next(execute(jobs.out, ["a"], Options()))


def test_without_ray_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'semivox\[cluster\]'") as caught:
        next(execute(tmp_path, ["a"], Options()))
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="not installed"):
        require_usable(Options())


@pytest.mark.parametrize("code", [0, 8, 75])
def test_job_ends_with_the_code_of_its_run(jobs: Jobs, code: int) -> None:
    run = jobs.plan("toy/a", seconds=[0], codes=[code])
    assert jobs.run(run, threads=3) == code
    assert jobs.attempts(run)[0]["threads"] == "3"
    assert jobs.log_file(run).read_text() == f"{run}, attempt 1\n"


def test_job_waits_for_the_lock_of_a_lost_machine(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "BUSY_PAUSE_SECONDS", 0.01)
    run = jobs.plan("toy/a", seconds=[0], codes=[6, 6, 0])
    assert jobs.run(run) == 0
    assert len(jobs.attempts(run)) == 3

    monkeypatch.setattr(ray_cluster, "BUSY_TRIES", 2)
    busy = jobs.plan("toy/b", seconds=[0], codes=[6])
    assert jobs.run(busy) == 6
    assert len(jobs.attempts(busy)) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl of Linux")
def test_job_ends_when_its_parent_is_killed(jobs: Jobs) -> None:
    run = jobs.plan("toy/a", seconds=[60], codes=[0])
    arguments, log = jobs.command(jobs.out, run)[1:], str(jobs.log_file(run))
    call = f"from semivox.compare.ray_cluster import run_job; run_job({arguments!r}, {log!r}, 1)"
    parent = subprocess.Popen([sys.executable, "-c", call])
    wait_until(lambda: jobs.attempts(run))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(30)
    wait_until(lambda: not is_alive(jobs.attempts(run)[0]["pid"]))


def test_job_knows_nothing_of_slurm_around_the_cluster() -> None:
    kept = job_environment({"PATH": "/bin", "SLURM_NTASKS": "8", "OMP_NUM_THREADS": "64"}, 4)
    assert kept == {"PATH": "/bin", "OMP_NUM_THREADS": "4", DRIVER_VARIABLE: str(os.getpid())}


def machine(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(("nodes", "asked", "expected"), [
    ([machine(), machine(CPU=16.0)], Demand(), (4, 0)),
    ([machine(CPU=2.0), machine(CPU=3.0)], Demand(), (3, 0)),
    ([machine(CPU=64.0), machine(CPU=2.0, GPU=1.0)], Demand(), (2, 1)),  # the cores beside a GPU count
    ([machine(CPU=8.0, GPU=1.0)], Demand(gpus=0.5, cpus=3), (3, 0.5)),
    ([machine(CPU=8.0, GPU=1.0)], Demand(gpus=0), (4, 0)),
    ([machine(CPU=8.0), machine(alive=False, CPU=8.0, GPU=1.0)], Demand(), (4, 0)),
])
def test_run_takes_what_suits_the_machines(nodes: list[dict[str, Any]], asked: Demand,
                                           expected: tuple[int, float]) -> None:
    assert resources(nodes, asked) == expected


@pytest.mark.parametrize(("nodes", "asked"), [
    ([machine(CPU=4.0)], Demand(cpus=5)),
    ([machine(CPU=4.0)], Demand(gpus=1)),
    ([machine(CPU=16.0), machine(CPU=2.0, GPU=1.0)], Demand(cpus=4, gpus=1)),
    ([machine()], Demand()),
])
def test_run_that_no_machine_can_take_is_refused(nodes: list[dict[str, Any]], asked: Demand) -> None:
    with pytest.raises(UsageError, match="the machines have"):
        resources(nodes, asked)


def test_options_are_read() -> None:
    assert read_demand("") == Demand()
    assert read_demand("cpus=8 gpus=0.5 retries=0") == Demand(8, 0.5, 0)


@pytest.mark.parametrize(("text", "code"), [
    ("cores=4", "C1"), ("cpus", "C2"), ("cpus=0", "C2"), ("cpus=1.5", "C2"), ("gpus=-1", "C2"), ("gpus=nan", "C2"),
    ("retries=inf", "C2"),
])
def test_impossible_options_are_refused(text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_demand(text)
    assert (caught.value.code, caught.value.subject) == (code, "--ray-options")
