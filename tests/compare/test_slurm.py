"""The array job: its files, and the generated script under bash beside stand-ins for srun, scontrol, squeue, sbatch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_material import RECORDS, Slurm, wait_until

from semivox.compare import slurm
from semivox.compare.execution import Options
from semivox.compare.slurm import read_options, runs_in_queue, submit, write_array
from semivox.errors import UsageError

RUNS = ["toy/caml/default/labeled_2/seed_0", "toy/caml/default/labeled_2/seed_1", "toy/cml/default/labeled_2/seed_0"]

@pytest.fixture
def cluster(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path / "cluster")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder whose name has to be quoted."""
    folder = tmp_path / "our $comparison's 50% #1"
    folder.mkdir()
    return folder


def directives_of(script: Path) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    return dict(line.partition("=")[::2] for line in lines)


def test_files_name_runs_and_what_they_ask_for(out: Path) -> None:
    script = write_array(out, RUNS, Options(2, "--time=2:00:00 --partition=gpu"))
    assert script == out / "slurm" / "array-001.sbatch"
    assert script.with_suffix(".txt").read_text().splitlines() == RUNS
    asked = directives_of(script)
    assert asked["array"] == "1-3%2"
    assert (asked["time"], asked["partition"], asked["gpus"], asked["cpus-per-task"]) == ("2:00:00", "gpu", "1", "4")
    assert asked["requeue"] == ""
    assert asked["signal"] == "B:USR1@120"
    assert asked["open-mode"] == "append"
    logs = str(out / "slurm" / "logs").replace("%", "%%")
    assert asked["output"] == f"\"{logs}/%A_%a.log\""
    assert (out / "slurm" / "logs").is_dir()  # SLURM does not make it
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.parametrize("task", [1, 2, 3])
def test_task_executes_its_run(out: Path, cluster: Slurm, task: int) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by("exit 0")
    code, output = cluster.run(script, task)
    assert code == 0, output
    assert cluster.called("srun")[-5:] == [sys.executable, "-m", "semivox.compare.job", str(out), RUNS[task - 1]]
    assert "--cpus-per-task=3" in cluster.called("srun")  # srun does not take it over from the job
    assert cluster.called("threads") == ["3"]
    assert cluster.called("scontrol") == []
    assert RUNS[task - 1] in output


def test_task_without_a_run_fails(out: Path, cluster: Slurm) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by("exit 0")
    code, output = cluster.run(script, 4)
    assert code == 2
    assert "no line 4" in output
    assert cluster.called("srun") == []


def test_stopped_run_is_queued_again(out: Path, cluster: Slurm) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by("exit 75")
    code, output = cluster.run(script, 2)
    assert code == 75
    assert cluster.called("scontrol") == ["requeue 4711_2"]  # never the number alone: that would be the whole array
    assert "queued again" in output


@pytest.mark.parametrize("failure", [1, 2, 5, 6, 8, 130, 137, 138, 139])
def test_failed_run_is_not_queued_again(out: Path, cluster: Slurm, failure: int) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by(f"exit {failure}")
    assert cluster.run(script, 1)[0] == failure
    assert cluster.called("scontrol") == []


def test_run_that_gets_nowhere_is_not_queued_for_ever(out: Path, cluster: Slurm) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by("exit 75")
    assert cluster.run(script, 1, SLURM_RESTART_COUNT=str(slurm.RESTARTS - 1))[0] == 75
    assert len(cluster.called("scontrol")) == 1
    code, output = cluster.run(script, 1, SLURM_RESTART_COUNT=str(slurm.RESTARTS))
    assert (code, len(cluster.called("scontrol"))) == (75, 1)
    assert "not queued again" in output


@pytest.mark.parametrize(("state", "requeued"), [("RUNNING", True), ("COMPLETING", False)])
def test_canceled_run_is_not_queued_again(out: Path, cluster: Slurm, state: str, requeued: bool) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by("exit 75")
    cluster.add("squeue", RECORDS.format(name="squeue", more=f"echo {state}"))
    assert cluster.run(script, 1)[0] == 75
    assert bool(cluster.called("scontrol")) is requeued
    assert "--jobs=4711_1" in cluster.called("squeue")[0]


@pytest.mark.parametrize(("on_signal", "code"), [
    ("trap 'sleep 0.3; exit 75' USR1", 75),  # saves itself, which takes a while
    ("", 138),  # dies of it: it was still starting
])
def test_signal_before_the_time_limit_reaches_the_run(out: Path, cluster: Slurm, on_signal: str, code: int) -> None:
    script = write_array(out, RUNS, Options())
    cluster.runs_jobs_by(f"{on_signal}\ntouch \"$CALLS/started\"\nfor i in $(seq 200); do sleep 0.1; done")
    process = cluster.start(script, 3)
    wait_until(lambda: (cluster.calls / "started").exists())
    os.kill(process.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code, output
    assert cluster.called("scontrol") == ["requeue 4711_3"]


def use(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)


def test_array_is_submitted_where_there_is_sbatch(out: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.add("sbatch", RECORDS.format(name="sbatch", more="echo '4711;alps'"))
    use(cluster, monkeypatch)
    text = submit(out, RUNS, Options())
    script = out / "slurm" / "array-001.sbatch"
    assert cluster.called("sbatch") == [f"--parsable {script}"]
    assert "job 4711:" in text
    assert "3 runs" in text


def test_without_sbatch_the_files_are_there_and_it_says_how(out: Path, cluster: Slurm,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cluster.bin))
    text = submit(out, RUNS, Options())
    assert (out / "slurm" / "array-001.sbatch").is_file()
    assert "no sbatch on this machine" in text
    assert "sbatch '" in text  # the folder's name is quoted


def test_refusal_of_sbatch_is_shown(out: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.add("sbatch", "#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    use(cluster, monkeypatch)
    with pytest.raises(UsageError, match="invalid partition specified: gpu"):
        submit(out, RUNS, Options(settings="--partition=gpu"))
    assert list((out / "slurm").glob("array-*")) == []


def test_runs_in_the_queue_are_not_submitted_twice(out: Path, cluster: Slurm,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_array(out, RUNS, Options())
    name = directives_of(first)["job-name"]
    cluster.add("squeue", RECORDS.format(name="squeue", more=f"echo '{name} 1'\necho '{name} 3'"))
    cluster.add("sbatch", RECORDS.format(name="sbatch", more="echo 4712"))
    use(cluster, monkeypatch)
    assert runs_in_queue(out) == {RUNS[0], RUNS[2]}
    text = submit(out, RUNS, Options())
    assert "In the queue already: 2 runs" in text
    assert (out / "slurm" / "array-002.txt").read_text().splitlines() == [RUNS[1]]
    assert first.with_suffix(".txt").read_text().splitlines() == RUNS  # tasks in the queue read it

    assert "squeue" in submit(out, [RUNS[0]], Options())
    assert len(cluster.called("sbatch")) == 1


def test_folders_have_names_of_their_own_in_the_queue(tmp_path: Path) -> None:
    names = {directives_of(write_array(tmp_path / folder, RUNS, Options()))["job-name"] for folder in "ab"}
    assert len(names) == 2


def test_queue_that_does_not_answer_holds_nothing(out: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array(out, RUNS, Options())
    cluster.add("squeue", "#!/bin/bash\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    use(cluster, monkeypatch)
    assert runs_in_queue(out) == set()


def test_options_of_sbatch_replace_the_defaults() -> None:
    assert read_options("") == slurm.DEFAULTS
    asked = read_options("--mem=64G --exclusive --comment='two words'")
    assert (asked["mem"], asked["exclusive"], asked["comment"]) == ("64G", "", "two words")
    assert "gpus" not in read_options("--gpus=0")
    assert read_options("--gpus=2")["gpus"] == "2"
    assert "gpus" not in read_options("--gres=gpu:a100:1")


def test_value_with_a_blank_is_quoted_in_the_file(out: Path) -> None:
    asked = directives_of(write_array(out, RUNS, Options(settings="--comment='two words' --exclusive")))
    assert asked["comment"] == "\"two words\""
    assert asked["exclusive"] == ""


@pytest.mark.parametrize(("text", "problem"), [
    ("-t 1:00", "long option"), ("time=1:00", "long option"), ("--array=1-5", "set by the comparison"),
    ("--output=x", "set by the comparison"), ("--time=\"1:00", "no closing quotation"),
    ("--comment='a\nb'", "long option"), ("--comment='say \"x\"'", "long option"),
])
def test_impossible_options_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        read_options(text)
    assert caught.value.subject == "--slurm-options"


def test_impossible_options_leave_no_files(out: Path) -> None:
    with pytest.raises(UsageError):
        submit(out, RUNS, Options(settings="-t 1:00"))
    assert list(out.iterdir()) == []


def test_folder_that_slurm_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quotation mark"):
        write_array(tmp_path / "a\"b", RUNS, Options())
    assert list(tmp_path.iterdir()) == []
