"""Tiny comparisons: settings of runs that take a second, and a stand-in for the process of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from semivox.compare.plan import Wanted, plan_matrix
from semivox.data.store import Store
from semivox.matrix import Matrix, write_matrix

TINY = ("network.width=4", "data.patch_size=[16,16,16]", "data.workers=0", "engine.save_every=2", "engine.log_every=1",
        "engine.threads=1", "engine.precision=fp32")
STEPS = 4

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
from semivox.matrix import JobRecord, read_job, write_job
out, path = Path(sys.argv[1]), sys.argv[2]
folder = out / path
before = read_job(folder)
behavior = json.loads((out / "behavior.json").read_text()).get(path, "done")
(folder / "threads").write_text(os.environ.get("OMP_NUM_THREADS", ""))
attempts = before.attempts + 1
if behavior == "wait":
    def stop(number, frame):
        write_job(folder, JobRecord(state="stopped", attempts=attempts))
        sys.exit(75)
    signal.signal(signal.SIGTERM, stop)
    write_job(folder, JobRecord(state="training", attempts=attempts))
    time.sleep(60)
if behavior == "killed":
    write_job(folder, JobRecord(state="training", attempts=attempts))
    os.kill(os.getpid(), signal.SIGKILL)
if behavior == "fails":
    error = {"code": "T9", "subject": "run", "problem": "it diverged", "fix": "lower the rate", "exit_code": 8}
    write_job(folder, JobRecord(state="failed", error=error, attempts=attempts))
    sys.exit(8)
if behavior == "busy":
    sys.exit(6)
write_job(folder, JobRecord(state="done", attempts=attempts, seconds={"train": 1.0}))
"""


def tiny_matrix(store: Store, **changes: Any) -> Matrix:
    """Supervised runs with 2 and with all labels, or what ``changes`` say."""
    wanted = {"methods": ("supervised",), "labeled": (2,), "steps": STEPS, "settings": TINY, **changes}
    return plan_matrix(store, Wanted(**wanted))


def tiny_comparison(store: Store, out: Path, **changes: Any) -> Matrix:
    """The same, written into a folder."""
    matrix = tiny_matrix(store, **changes)
    write_matrix(out, matrix)
    return matrix


def stand_in(folder: Path) -> Any:
    """A ``job_command`` whose process does what ``behavior.json`` in the comparison's folder says of its run."""
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    return lambda out, path: [sys.executable, str(script), str(out), path]
