"""What a comparison will cost, said before it starts: time from runs of its own or from timed steps, and memory.

Runs of one kind (method and variant) differ in cases and seed alone, so that one measurement stands for them all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import semivox
from semivox.compare.board import kind_of, seconds_left, status_of
from semivox.compare.local import THREADS_VARIABLE, threads_of
from semivox.compare.pace import pace_of
from semivox.compare.stop import DRIVER_VARIABLE
from semivox.errors import InputError, ResourceError
from semivox.fsio import read_json, sha256_json, write_json
from semivox.matrix import ALL, MATRIX_JSON, Matrix, RunSpec
from semivox.memory import available_memory_bytes
from semivox.progress import track

PROBE = (sys.executable, "-m", "semivox.compare.probe")
ESTIMATES_JSON = "estimates.json"
SHORT_RUN_STEPS = 50
"""A shorter run takes no longer than it would take to time its steps."""
SURE_SHARE = 1.3
"""An estimate this many times what is free is refused; one between may be wrong, and is only warned of."""


class Cost(NamedTuple):
    """What runs of one kind take; None is not known."""

    memory: int | None = None
    """Bytes of main memory."""
    gpu_memory: int | None = None
    gpu_free: int | None = None
    """Bytes that the GPU had free; None without one."""
    seconds_per_step: float | None = None


def estimate(out: Path, matrix: Matrix, paths: Iterable[str], *, jobs: int, here: bool = True) -> dict[str, Cost]:
    """The cost of each kind of run that is still to be done.

    Args:
        out: folder of the comparison; what has run in it already is the measure of its time.
        matrix: its runs.
        paths: the runs to be done.
        jobs: runs at the same time, which share the threads.
        here: whether they run on this machine; of others only what has run there is known.

    Returns:
        Kind of run to its cost.
    """
    specs: dict[str, RunSpec] = {}
    for spec in map(matrix.run, paths):
        known = specs.setdefault(kind_of(spec), spec)
        if _cases(spec) > _cases(known):  # what a method remembers grows with the labeled cases
            specs[kind_of(spec)] = spec
    threads = threads_of(jobs)
    speeds = measured(out, matrix, threads if here else None)
    if not here:
        return {kind: Cost(seconds_per_step=speeds.get(kind)) for kind in specs}
    questions = {kind: {"wishes": {**spec.wishes, "seed": 0}, "timed": kind not in speeds and
                        spec.steps >= SHORT_RUN_STEPS} for kind, spec in specs.items()}
    if jobs == 1:  # whether there is memory for a single run it says itself when it starts
        questions = {kind: question for kind, question in questions.items() if question["timed"]}
    costs = {kind: Cost() for kind in specs} | remembered(out, matrix, questions, threads)
    return {kind: cost._replace(seconds_per_step=speeds.get(kind, cost.seconds_per_step))
            for kind, cost in costs.items()}


def measured(out: Path, matrix: Matrix, threads: int | None) -> dict[str, float]:
    """Seconds per step by kind, of runs that were computed with as many threads (None: any number), or on a GPU."""
    found: dict[str, list[float]] = {}
    for spec in matrix.runs:
        speed = pace_of(out / spec.path).seconds_per_step
        if speed is None:
            continue
        with suppress(InputError, KeyError, TypeError):
            environment = read_json(out / spec.path / "environment.json")
            wanted = spec.wishes.get("engine", {}).get("threads") or threads
            if threads is None or environment["devices"] or environment["threads"] == wanted:
                found.setdefault(kind_of(spec), []).append(speed)
    return {kind: mean(speeds) for kind, speeds in found.items()}


def remembered(out: Path, matrix: Matrix, asked: Mapping[str, Mapping[str, Any]], threads: int) -> dict[str, Cost]:
    """Answers of an earlier call on this folder, and of a new probe for the rest. A GPU is asked each time."""
    keys = {kind: sha256_json([question, matrix.store_digest, threads, semivox.__version__])
            for kind, question in asked.items()}
    earlier: dict[str, Any] = {}
    with suppress(InputError):
        earlier = read_json(out / ESTIMATES_JSON)
    costs = {kind: Cost(**earlier[key]) for kind, key in keys.items() if key in earlier}
    new = [kind for kind in asked if kind not in costs]
    costs |= dict(zip(new, probed(matrix.store, [asked[kind] for kind in new], threads), strict=True))
    kept = {keys[kind]: costs[kind]._asdict() for kind in new if costs[kind].memory and not costs[kind].gpu_memory}
    if kept and (out / MATRIX_JSON).is_file():
        write_json(out / ESTIMATES_JSON, {**earlier, **kept})
    return costs


def probed(store: str, questions: Sequence[Mapping[str, Any]], threads: int) -> list[Cost]:
    """Try out each kind in a process of its own; where that dies, nothing is known of the kind it died with."""
    found: list[Cost] = []
    with track("Measuring", total=len(questions), unit="method", visible=bool(questions)) as bar:
        while len(found) < len(questions):
            for answer in _answers(store, questions[len(found):], threads):
                found.append(answer)
                bar.advance()
            if len(found) < len(questions):
                found.append(Cost())
                bar.advance()
    return found


def require_memory(paths: Iterable[str], matrix: Matrix, costs: Mapping[str, Cost], *, jobs: int) -> str | None:
    """Refuse more runs at the same time than the machine has memory for.

    Returns:
        A warning, when it may not do.

    Raises:
        ResourceError: C9, with the number of runs that fit.
    """
    kinds = [costs[kind_of(matrix.run(path))] for path in paths]
    gpu_free = max((cost.gpu_free or 0 for cost in kinds), default=0)
    sides = [("memory", [cost.memory for cost in kinds], available_memory_bytes()),
             ("GPU memory", [cost.gpu_memory for cost in kinds], gpu_free or None)]
    for name, needs, free in sides:
        most = sorted((need for need in needs if need), reverse=True)[:jobs]
        if free is None or sum(most) <= free:
            continue
        fitting = next(count for count in range(len(most), -1, -1) if sum(most[:count]) <= free)
        fix = f"use --jobs {fitting}" if fitting else "take a smaller data.patch_size or network.width with --set"
        problem = (f"{len(most)} runs at the same time need about {sum(most) / 1e9:.1f} GB of {name}, "
                   f"{free / 1e9:.1f} GB are free")
        if sum(most) > SURE_SHARE * free:
            raise ResourceError("C9", "--jobs", problem, fix)
        return f"{problem}: it may not do. If runs are killed, {fix}"
    return None


def total_seconds(out: Path, matrix: Matrix, paths: Iterable[str], costs: Mapping[str, Cost], *, jobs: int
                  ) -> float | None:
    """Time until all runs are done, prediction and scoring as they took in runs that are done; None: not known."""
    waiting = [status_of(out, matrix.run(path)) for path in paths]
    waiting = [row._replace(job=row.job._replace(state="waiting")) for row in waiting]
    training = seconds_left(waiting, speeds_of(matrix, costs), jobs)
    jobs_done = [job for spec in matrix.runs if (job := status_of(out, spec).job).state == "done"]
    scoring = [job.seconds.get("predict", 0.0) + job.seconds.get("evaluate", 0.0) for job in jobs_done]
    return None if training is None else training + (mean(scoring) * len(waiting) / jobs if scoring else 0.0)


def speeds_of(matrix: Matrix, costs: Mapping[str, Cost]) -> dict[str, float]:
    """Seconds per step by the path of the run, where they are known."""
    known = {spec.path: costs[kind_of(spec)].seconds_per_step for spec in matrix.runs if kind_of(spec) in costs}
    return {path: speed for path, speed in known.items() if speed is not None}


def _cases(spec: RunSpec) -> float:
    return float("inf") if spec.labeled == ALL else float(spec.labeled)


def _answers(store: str, questions: Sequence[Mapping[str, Any]], threads: int) -> Iterator[Cost]:
    """The lines that a probe gives before it ends, or dies."""
    environment = {**os.environ, THREADS_VARIABLE: str(threads), DRIVER_VARIABLE: str(os.getpid())}
    with subprocess.Popen(PROBE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=environment) as process:
        if process.stdin is None or process.stdout is None:  # never with pipes
            return
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"store": store, "runs": list(questions)}))
            process.stdin.close()
        for line in process.stdout:
            yield Cost(**json.loads(line))
