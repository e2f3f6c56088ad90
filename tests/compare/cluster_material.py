"""Stand-ins for the commands of SLURM, a Ray cluster of this machine, and what tests wait for on them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLUSTER_MEMORY = 80 * 2**20
SRUN = """\
#!/bin/bash
printf '%s\\n' "$@" > "$CALLS/srun"
echo "$OMP_NUM_THREADS" > "$CALLS/threads"
{job}
"""
RECORDS = "#!/bin/bash\necho \"$@\" >> \"$CALLS/{name}\"\n{more}\n"


class Slurm:
    """A folder of commands that stand in for SLURM's and write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.calls = folder / "bin", folder / "calls"
        self.bin.mkdir(parents=True)
        self.calls.mkdir()

    def add(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def runs_jobs_by(self, job: str) -> None:
        """What srun does with the command that it is given, in bash; the others only write down their calls."""
        self.add("srun", SRUN.format(job=job))
        self.add("scontrol", RECORDS.format(name="scontrol", more=""))

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "CALLS": str(self.calls), **more}

    def start(self, script: Path, task: int, **more: str) -> subprocess.Popen[str]:
        variables = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "4712",
                     "SLURM_CPUS_PER_TASK": "3"}
        return subprocess.Popen(["bash", str(script)], env=self.environment(**variables, **more), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, script: Path, task: int, **more: str) -> tuple[int, str]:
        process = self.start(script, task, **more)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def called(self, name: str) -> list[str]:
        file = self.calls / name
        return file.read_text().splitlines() if file.exists() else []


@contextmanager
def ray_cluster_of_two(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that takes no runs, and two workers with one core each; the driver finds it by ``RAY_ADDRESS``."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'semivox[cluster]'")
    from ray.cluster_utils import Cluster

    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    made = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 0, "include_dashboard": False, "object_store_memory": CLUSTER_MEMORY})
    try:
        for _ in range(2):
            add_worker(made)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
    finally:
        made.shutdown()


def add_worker(cluster: Any) -> None:
    """Add a worker with one core."""
    cluster.add_node(num_cpus=1, object_store_memory=CLUSTER_MEMORY)


def kill_machine_of(cluster: Any, worker_pid: int) -> None:
    """Kill the node whose raylet started a worker process, without notice."""
    parent = int(Path(f"/proc/{worker_pid}/stat").read_text().rpartition(")")[2].split()[1])
    for node in list(cluster.worker_nodes):
        if parent in [info.process.pid for info in node.all_processes["raylet"]]:
            cluster.remove_node(node, allow_graceful=False)
            return
    raise AssertionError(f"no node has started process {worker_pid}")


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it took too long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process lives and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
