"""Left atrium at full resolution, 8 labeled of 80, by the literature's protocol, in slices of a few minutes.

    python benchmarks/la_literature.py DATA [--methods caml cml crln] [--minutes 9] [--work scratch/la_literature]

DATA is the folder of the scans at 0.625 mm, or the pack of them (.bin files, with convert_la.py beside the folder).
Give the same command again until it exits with 0. Each call goes on where the last one stopped: it trains the first
run that is not finished until the minutes are over and stops it with SIGTERM, which saves it. A finished run is scored
on the 20 test cases, once, and adds its row to results/la_literature.csv. Exit code 75: there is more to do.

Protocol: recipe ``la`` (patch 112x112x80, strides 18, 18, 4), the first 8 of the train list labeled and the other 72
unlabeled, no validation cases, each method's published steps, the profile behind its published numbers, last
checkpoint, literature metrics in voxels. Precision is the machine's own: bf16 on a CUDA GPU, where one is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from rows import COLUMNS, MEASURES, append, read_rows, row_of

from semivox.engine.rundir import RunDirectory
from semivox.errors import StoppedError
from semivox.fsio import read_json
from semivox.imaging.files import split_ending

RESULTS = Path(__file__).parent / "results" / "la_literature.csv"
MORE_TO_DO = StoppedError.exit_code
MINUTES = 9.0
SAVING_S, STARTING_S, POLL_S = 20.0, 60.0, 0.05
"""Kept back to save a run; no training is started with less than this left; between two looks at a child."""
PUBLISHED = {
    "caml": (89.62, "CAML, MICCAI 2023: last iteration, mean of 3 seeds"),
    "cml": (90.36, "CML, ACM MM 2024"),
    "crln": (91.74, "CRLN, Medical Image Analysis 2025: last checkpoint"),
}
"""Dice % with 8 labeled scans, and where it was published."""
PROFILES = {"caml": "released", "cml": "released", "crln": "paper"}
"""The profile next to these numbers, where it is not the default one."""
SETTINGS = {"caml": ("method.embed_dim=64",), "crln": ("method.dim_residual=true",)}
"""What the profile has otherwise: the logs of CAML fit 64 channels; CRLN's map does not learn by step 800 without."""
CAML_RAMP_STEPS = {4: 6000, 8: 3000, 16: 2250}
"""CAML's ramp, which its published logs set by the number of labeled scans."""


class Slice(NamedTuple):
    """What one call may use."""

    stop_at: float
    """Time of ``time.monotonic`` at which the work is asked to stop."""
    steps: int | None
    """Training steps after which a run is asked to stop."""

    def started_in_time(self) -> bool:
        """Whether a training that starts now can get as far as its first checkpoint."""
        return time.monotonic() + STARTING_S < self.stop_at


class Run(NamedTuple):
    """One training."""

    method: str
    profile: str
    steps: int | None
    """None: those that are published for the method."""
    options: argparse.Namespace

    @property
    def name(self) -> str:
        """Name of the run directory and of the row."""
        steps = "" if self.steps is None else f"-steps_{self.steps}"
        return f"{self.method}-{self.profile}-labeled_{self.options.labeled}-seed_{self.options.seed}{steps}"

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.options.work, "runs", self.name)

    def saved_step(self) -> int:
        """Step of the latest complete checkpoint; -1 when there is none."""
        found = RunDirectory(self.folder).checkpoints.glob("[0-9]*/MANIFEST.json")
        return max((int(manifest.parent.name) for manifest in found), default=-1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Work for one slice; 0 when every run has its row, else 75."""
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    with open(options.work / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another call works in {options.work}") from None
        return work(options)


def work(options: argparse.Namespace) -> int:
    """The work of a slice; as ``main``."""
    slice_ = Slice(time.monotonic() + max(0.0, 60 * options.minutes - SAVING_S), options.steps_per_slice)
    signal.signal(signal.SIGTERM, leave)  # what runs then is stopped and saved by ``finished``
    runs = [Run(method, profile_of(method, options.profile), options.steps, options) for method in options.methods]
    store = options.work / "store"
    for run in runs if prepared(options.data, store, slice_) else []:
        if run.name not in {row["run"] for row in read_rows(options.results)} and not complete(run, store, slice_):
            break
    show(runs, options.results)
    done = {row["run"] for row in read_rows(options.results)}
    return 0 if {run.name for run in runs} <= done else MORE_TO_DO


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", nargs="+", default=["supervised", *PUBLISHED])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of this call, 2 or more; default %(default)s")
    parser.add_argument("--work", type=Path, default=Path("scratch/la_literature"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="CSV file that rows are added to")
    parser.add_argument("--profile", help="of all methods, instead of the one behind their published numbers")
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of a run, to try it out; default: as published for its method")
    parser.add_argument("--steps-per-slice", type=int, help="stop after so many steps or one more, to try it out")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="any config field of new runs, for example engine.compile=true")
    return parser.parse_args(arguments)


def settings_of(run: Run) -> tuple[str, ...]:
    """What a run of the published length has beside its profile."""
    ramp = CAML_RAMP_STEPS.get(run.options.labeled) if run.method == "caml" and run.steps is None else None
    return (*SETTINGS.get(run.method, ()), *([f"method.rampup_steps={ramp}"] if ramp else []))


def profile_of(method: str, wanted: str | None) -> str:
    return wanted or PROFILES.get(method, "default")


def prepared(data: Path, store: Path, slice_: Slice) -> bool:
    """Unpack and prepare the scans unless that is done; False when time ran out on the way."""
    if (store / "store.json").is_file():
        return True
    if (data / "index.json").is_file():
        scans = store.parent / "scans"
        unpack = [sys.executable, data.parent / "convert_la.py", "unpack", data, scans.with_suffix(".part")]
        if not scans.is_dir():
            if not finished(unpack, slice_):
                return False
            scans.with_suffix(".part").rename(scans)
        data = scans
    return finished(semivox("prepare", data, store, "--recipe", "la"), slice_)


def complete(run: Run, store: Path, slice_: Slice) -> bool:
    """Train, predict and evaluate what is left of a run, and add its row; False when time ran out on the way."""
    predictions, scores = (run.options.work / part / run.name for part in ("predictions", "scores"))
    if not RunDirectory(run.folder).finished() and not trained(run, store, slice_):
        return False
    if not predicted(run, store, predictions, slice_=slice_):
        return False
    if not finished(semivox("evaluate", predictions, store / "labelsTs", "--out", scores, "--protocol", "literature",
                            "--overwrite"), slice_):
        return False
    config, environment = read_json(run.folder / "config.json"), read_json(run.folder / "environment.json")
    row = row_of(run.name, run.folder, scores)
    row |= {"precision": config["engine"]["precision"], "device": (environment["devices"] or ["CPU"])[0]}
    append(run.options.results, (*COLUMNS, "precision", "device"), [row])
    return True


def trained(run: Run, store: Path, slice_: Slice) -> bool:
    """Train or resume until the run is finished (True) or the slice is over (False)."""
    if not slice_.started_in_time():
        return False
    goal = None if slice_.steps is None else max(0, run.saved_step()) + slice_.steps
    enough = None if goal is None else (lambda: run.saved_step() >= goal)
    if run.saved_step() >= 0:
        return finished(semivox("resume", run.folder, "--store", store), slice_, enough)
    shutil.rmtree(run.folder, ignore_errors=True)  # stopped before its first checkpoint
    settings = [f"profile={run.profile}", f"data.workers={min(4, os.cpu_count() or 1)}", *settings_of(run),
                *run.options.settings]
    if slice_.steps:
        settings.append("engine.save_every=1")  # ``enough`` looks at checkpoints
    words: list[object] = ["train", store, run.folder, "--method", run.method, "--labeled", run.options.labeled,
                           "--seed", run.options.seed]
    if run.steps is not None:
        words += ["--steps", run.steps]
    return finished(semivox(*words, *(word for each in settings for word in ("--set", each))), slice_, enough)


def predicted(run: Run, store: Path, predictions: Path, *, slice_: Slice) -> bool:
    """Predict the test cases that have no label map yet, by way of a folder of links to their scans."""
    pending = run.options.work / "pending" / run.name
    shutil.rmtree(pending, ignore_errors=True)
    pending.mkdir(parents=True)
    cases = [case for case in read_json(store / "store.json")["cases"] if case["role"] == "test"]
    there = {split_ending(path.name)[0] for path in predictions.glob("*.*")}
    missing = [case for case in cases if case["name"] not in there]
    for image in (image for case in missing for image in case["images"]):
        (pending / Path(image).name).symlink_to((store / image).resolve())
    return not missing or finished(semivox("predict", run.folder, pending, predictions), slice_)


def finished(words: Sequence[object], slice_: Slice, enough: Callable[[], bool] | None = None) -> bool:
    """Run a command to its end (True), or stop it with SIGTERM when the slice is over or ``enough()`` (False).

    Raises:
        SystemExit: the command failed, with its exit code.
    """
    child = subprocess.Popen([str(word) for word in words])
    stopped = False
    try:
        while child.poll() is None and not stopped:
            time.sleep(POLL_S)
            stopped = time.monotonic() >= slice_.stop_at or (enough is not None and enough())
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait()
    if child.returncode and not stopped:
        raise SystemExit(child.returncode)
    return child.returncode == 0


def semivox(*words: object) -> list[object]:
    return [sys.executable, "-m", "semivox", *words]


def leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(MORE_TO_DO)


def show(runs: Sequence[Run], results: Path) -> None:
    """Print what each run has come to, beside what is published."""
    rows: dict[str, dict[str, Any]] = {row["run"]: row for row in read_rows(results)}
    for run in runs:
        found = "not started"
        if run.saved_step() >= 0:
            found = f"step {run.saved_step()} of {read_json(run.folder / 'config.json')['engine']['steps']}"
        if run.name in rows:
            dice, jaccard, hd95, asd = (float(rows[run.name][name]) for name in MEASURES)
            found = f"Dice {dice:.2f} %, Jaccard {jaccard:.2f} %, HD95 {hd95:.2f}, ASD {asd:.2f} voxels"
        published = "; published: Dice {:.2f} % ({})".format(*PUBLISHED[run.method]) if run.method in PUBLISHED else ""
        print(f"{run.name}: {found}{published}")


if __name__ == "__main__":
    sys.exit(main())
