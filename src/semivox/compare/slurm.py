"""The runs of a comparison on a SLURM cluster: one array job, a readable sbatch file, one task a run.

The files are written whether or not this machine can submit them. The list and the script of an array are never
changed again: tasks that wait in the queue read them.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from semivox.compare.execution import JOB_MODULE, Options
from semivox.errors import UsageError
from semivox.fsio import write_text
from semivox.wording import count_of

FOLDER, LOGS = "slurm", "logs"
RESTARTS = 50
"""How often a task may be queued again: a run that gets nowhere within its time limit must not wait in line forever."""
DEFAULTS = {"time": "24:00:00", "cpus-per-task": "4", "mem": "32G", "gpus": "1"}
"""What a run asks for unless the user says otherwise; the partition is the cluster's own default."""
OTHER_GPUS = ("gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
"""Options that ask for GPUs in another way: the default steps back."""
OWN = ("array", "job-name", "output", "error", "open-mode", "ntasks", "nodes", "requeue", "no-requeue", "wrap")
"""Options that the array could not work without."""

TASK = """\
# Line SLURM_ARRAY_TASK_ID of the list is the run of this task. A run does what it lacks: it can be started again.
task="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
run=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
if [ -z "$run" ]; then
    echo "$list has no line $SLURM_ARRAY_TASK_ID" >&2
    exit 2
fi
echo "$(date '+%F %T') task $task, restart ${SLURM_RESTART_COUNT:-0}, on $(hostname): $run"

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
srun --ntasks=1 --cpus-per-task="$OMP_NUM_THREADS" "$python" -m "$module" "$out" "$run" &
job=$!

# Before the time limit SLURM signals this shell (--signal). srun passes USR1 on (at TERM it would kill the run), the
# run saves itself and ends with exit code 75.
asked=no
trap 'asked=yes; signaled=yes; kill -USR1 "$job"' USR1
signaled=yes
while [ "$signaled" = yes ]; do  # a signal ends the wait, not the run
    signaled=no
    wait "$job"
    code=$?
done
echo "$(date '+%F %T') task $task ended with exit code $code"

# 138: it died of the signal before it listened, while it was starting
if [ "$code" -eq 75 ] || { [ "$asked" = yes ] && [ "$code" -eq 138 ]; }; then
    state=$(squeue --noheader --jobs="$task" --format=%T 2>/dev/null)
    if [ "$state" = COMPLETING ]; then
        echo "not queued again: it was canceled, or SLURM itself queues it again"
    elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$restarts" ]; then
        echo "not queued again: it was started $restarts times more already; a longer --time helps" >&2
    else
        echo "stopped before its end: queued again"
        scontrol requeue "$task"
    fi
fi
exit "$code"
"""


def read_options(text: str) -> dict[str, str]:
    """What ``--slurm-options`` says, over the defaults: long options of sbatch without dashes, and their values.

    For example ``"--time=12:00:00 --partition=gpu --exclusive"``; ``--gpus=0`` asks for none. The value of an option
    without one is empty.

    Raises:
        UsageError: C1, not a long option of sbatch, or one that the array sets itself.
    """
    given: dict[str, str] = {}
    for word in _words(text):
        match = re.fullmatch(r"--([a-z][a-z0-9-]*)(?:=([^\"\\\n]+))?", word)
        if match is None:
            raise UsageError("C1", "--slurm-options", f"found {word!r}, expected a long option of sbatch",
                             "for example --slurm-options \"--time=12:00:00 --partition=gpu\"")
        if match[1] in OWN:
            raise UsageError("C1", "--slurm-options", f"--{match[1]} is set by the comparison itself",
                             "leave it out, or edit the file that is written before you submit it")
        given[match[1]] = match[2] or ""
    defaults = {name: value for name, value in DEFAULTS.items() if name != "gpus" or not set(given) & set(OTHER_GPUS)}
    asked = {**defaults, **given}
    return {name: value for name, value in asked.items() if (name, value) != ("gpus", "0")}


def require_usable(options: Options) -> None:
    """Refuse before anything is planned what ``submit`` would refuse.

    Raises:
        UsageError: C1, options that are not those of sbatch.
    """
    read_options(options.settings)


def submit(out: Path, run_paths: Sequence[str], options: Options) -> str:
    """Write the array job of these runs and submit it where there is ``sbatch``.

    Args:
        out: folder of the comparison, on a file system that all nodes see.
        run_paths: runs relative to it; those whose tasks are in the queue already are left out.
        options: how many at the same time, and options of sbatch (see ``read_options``).

    Returns:
        What was written and submitted, and what to do next, for people.

    Raises:
        UsageError: C2, sbatch refuses the options; C6, SLURM cannot read the name of the folder.
    """
    out = out.resolve()
    queued = runs_in_queue(out)
    missing = [path for path in run_paths if path not in queued]
    lines = [f"In the queue already: {count_of(len(run_paths) - len(missing), 'run')} (squeue --me)."] * bool(queued)
    if not missing:
        return "\n".join(lines)
    script = write_array(out, missing, options)
    lines.append(f"Wrote {script}: {count_of(len(missing), 'run')}, one task of the array each.")
    if shutil.which("sbatch") is None:
        lines.append(f"There is no sbatch on this machine. Submit it where there is: sbatch {shlex.quote(str(script))}")
        return "\n".join(lines)
    done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        for file in (script, script.with_suffix(".txt")):  # they never were in the queue
            file.unlink()
        raise UsageError("C2", "--slurm-options", f"sbatch refuses them: {' '.join(done.stderr.split())}",
                         "correct them; the administrators of the cluster know its partitions and limits")
    number = done.stdout.strip().partition(";")[0]
    lines.append(f"Submitted as job {number}: squeue --job={number} shows it, scancel {number} stops it.\n"
                 "The same command shows how far the runs are, and submits those that failed once more.")
    return "\n".join(lines)


def write_array(out: Path, run_paths: Sequence[str], options: Options) -> Path:
    """Write the list of the runs and the sbatch file that works it off; return the latter's path.

    Raises:
        UsageError: C6, the folder's name has characters that sbatch files cannot hold.
    """
    out = out.resolve()
    if re.search(r"[\"\\\n\r]", str(out)):
        raise UsageError("C6", out, "a name with a quotation mark, backslash or line break, which SLURM cannot read",
                         "choose another folder")
    asked = read_options(options.settings)
    folder = out / FOLDER
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.stem.rpartition("-")[2]) for path in folder.glob("array-*.txt")), default=0)
    script, listing = folder / f"array-{number:03d}.sbatch", folder / f"array-{number:03d}.txt"
    write_text(listing, "".join(f"{path}\n" for path in run_paths))
    names = {"out": str(out), "list": str(listing), "python": sys.executable, "module": JOB_MODULE,
             "restarts": str(RESTARTS)}
    write_text(script, "\n".join([
        "#!/bin/bash",
        f"# {count_of(len(run_paths), 'run')} of a comparison, written by semivox compare: sbatch {script.name}",
        *_directives(script, len(run_paths), options.jobs, asked),
        "", *(f"{name}={shlex.quote(value)}" for name, value in names.items()), "", TASK]))
    return script


def runs_in_queue(out: Path) -> set[str]:
    """The runs whose tasks wait or run on the cluster; none where ``squeue`` is not there or does not answer."""
    lists = {_job_name(path): path for path in sorted((out / FOLDER).glob("array-*.txt"))}
    if not lists or shutil.which("squeue") is None:
        return set()
    answer = subprocess.run(["squeue", "--noheader", "--array", f"--name={','.join(lists)}", "--format=%j %K"],
                            capture_output=True, text=True, check=False)
    queued = set()
    for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
        name, _, index = line.strip().rpartition(" ")
        if name.strip() in lists and index.isdecimal():
            queued.add(lists[name.strip()].read_text(encoding="utf-8").splitlines()[int(index) - 1])
    return queued


def _directives(script: Path, count: int, jobs: int | None, asked: Mapping[str, str]) -> list[str]:
    """The ``#SBATCH`` lines: what the array needs, then what the tasks ask for."""
    logs = str(script.parent / LOGS).replace("%", "%%")
    together = f"%{jobs}" * (jobs is not None)
    own = {"job-name": _job_name(script), "array": f"1-{count}{together}", "output": f"{logs}/%A_%a.log",
           "open-mode": "append", "ntasks": "1", "requeue": "", "signal": "B:USR1@120"}
    return [f"#SBATCH --{name}{f'={_quoted(value)}' * bool(value)}" for name, value in {**own, **asked}.items()]


def _job_name(path: Path) -> str:
    """Tells the arrays of a folder from those of any other, so that they are found in the queue."""
    place = hashlib.sha256(str(path.parent.resolve()).encode()).hexdigest()[:8]
    return f"semivox-{place}-{path.stem.rpartition('-')[2]}"


def _quoted(value: str) -> str:
    """A value as sbatch reads it from a file: in quotation marks where it has blanks or a comment sign."""
    return f'"{value}"' if re.search(r"[\s#']", value) else value


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError("C1", "--slurm-options", f"{str(error).lower()} in {text!r}",
                         "close the quotation marks") from None
