"""How fast Semivox is, against what people would otherwise run: one table, every figure measured side by side.

    python benchmarks/speed.py [--data DATA] [--only NAME[,NAME]] [--quick] [--check] [--device cpu|cuda]

Each line of the table is a contest (``benchmarks/contests``): both ways do the same work in turn, the results are
compared within the tolerance that the line states (a line whose results differ more is not met, however fast), and the
medians are divided. Written to
``benchmarks/results/speed.csv``: one row for each machine and form of the table; a repeated contest replaces its
columns. ``--check`` writes nothing: it fails if a ratio is below 80 % of the one in the file (``make bench``).
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

from contests import ALL
from race import Contest, Outcome, Setup, run_contest
from rich.console import Console
from rich.table import Table

from semivox.engine.environment import processor_name
from semivox.fsio import atomic_file

RESULTS = Path(__file__).parent / "results" / "speed.csv"
KEYS = ("processor", "cores", "device", "form")
SUFFIXES = ("ratio", "ours_s", "theirs_s", "ours_mb", "theirs_mb", "same")
KEPT_SHARE = 0.8


def main() -> int:
    """Run the contests and print the table."""
    options = arguments()
    setup = Setup(options.work.resolve(), options.data, options.quick, options.device)
    setup.folder.mkdir(parents=True, exist_ok=True)
    wanted = options.only.split(",") if options.only else [contest.name for contest in ALL]
    unknown = set(wanted) - {contest.name for contest in ALL}
    if unknown:
        sys.exit(f"no contest {', '.join(sorted(unknown))}; there are {', '.join(contest.name for contest in ALL)}")
    chosen = [contest for contest in ALL if contest.name in wanted and options.device in contest.devices
              and (contest.quick or not options.quick)]
    outcomes: dict[str, Outcome] = {}
    for contest in chosen:
        print(f"{contest.what}: {contest.ours.name} against {contest.theirs.name} ...", file=sys.stderr, flush=True)
        outcomes[contest.name] = run_contest(contest, setup)
        if not options.check:
            keep(machine(setup), {contest.name: outcomes[contest.name]})
    show([(contest, outcomes[contest.name]) for contest in chosen], targets=not options.quick)
    return compare(machine(setup), outcomes) if options.check else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("SEMIVOX_DATA")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="folder of the real scans")
    parser.add_argument("--work", type=Path, default=Path("scratch/speed"), help="folder for files that are kept")
    parser.add_argument("--only", help="names of contests")
    parser.add_argument("--quick", action="store_true", help="smaller work, less than 3 minutes")
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios, write nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args()


def machine(setup: Setup) -> dict[str, str]:
    """What identifies a row."""
    processor = processor_name()
    if setup.device == "cuda":
        import torch

        processor = torch.cuda.get_device_name()
    form = ("quick" if setup.quick else "full") + ("" if setup.data or setup.quick else " on generated scans")
    return dict(zip(KEYS, (processor, str(os.cpu_count()), setup.device, form), strict=True))


def show(rows: list[tuple[Contest, Outcome]], *, targets: bool) -> None:
    """Print the table."""
    table = Table("what", "against", "ours", "theirs", "times faster", "target", "memory", "same result")
    for contest, found in rows:
        goal = "" if contest.target is None else f"{contest.target:g}"
        memory = f"{found.ours_mb:.0f} / {found.theirs_mb:.0f} MB" if contest.memory else "-"
        if contest.memory_target:
            goal += f", memory {contest.memory_target:g}"
        table.add_row(contest.what, contest.theirs.name, _seconds(found.ours_s), _seconds(found.theirs_s),
                      f"{found.ratio:.2f}", f"{goal}: {verdict(contest, found)}" if goal and targets else "-", memory,
                      found.agreement)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def verdict(contest: Contest, found: Outcome) -> str:
    """Whether the targets were met."""
    fast = contest.target is None or found.ratio >= contest.target
    small = contest.memory_target is None or found.ours_mb <= contest.memory_target * found.theirs_mb
    return "met" if fast and small and found.equal else "NOT met"


def read_rows() -> list[dict[str, str]]:
    """The rows of all machines."""
    if not RESULTS.is_file():
        return []
    with open(RESULTS, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def keep(key: dict[str, str], outcomes: dict[str, Outcome]) -> None:
    """Write the contests' columns into the machine's row."""
    rows = read_rows()
    mine = next((row for row in rows if all(row[name] == value for name, value in key.items())), None)
    if mine is None:
        rows.append(mine := dict(key))
    for name, found in outcomes.items():
        numbers = (found.ratio, found.ours_s, found.theirs_s, found.ours_mb, found.theirs_mb)
        values = [*(f"{value:.4g}" for value in numbers), "yes" if found.equal else "no"]
        mine |= {f"{name}_{suffix}": value for suffix, value in zip(SUFFIXES, values, strict=True)}
    columns = [*KEYS, *(f"{contest.name}_{suffix}" for contest in ALL for suffix in SUFFIXES)]
    with atomic_file(RESULTS) as path, open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def compare(key: dict[str, str], outcomes: dict[str, Outcome]) -> int:
    """Hold the ratios against the committed ones; 1 if one has fallen, or has nothing to be held against.

    Of a processor without a row the lowest ratio of any machine with the same kind of device counts.
    """
    rows = [row for row in read_rows() if row["device"] == key["device"] and row["form"] == key["form"]]
    mine = [row for row in rows if all(row[name] == value for name, value in key.items())]
    fallen = []
    for name, found in outcomes.items():
        if not found.equal:
            fallen.append(f"{name}: {found.agreement}")
        committed = [float(row[f"{name}_ratio"]) for row in mine or rows if row.get(f"{name}_ratio")]
        if not committed:
            fallen.append(f"{name}: no committed ratio; run without --check to add one")
        elif found.ratio < KEPT_SHARE * min(committed):
            fallen.append(f"{name}: {found.ratio:.2f} times faster, {min(committed):.2f} committed")
    of_whom = "this processor" if mine else "other machines (the lowest)"
    print(f"{len(outcomes)} ratios against those of {of_whom}, at least {KEPT_SHARE:.0%} of each: "
          + ("met" if not fallen else "NOT met"))
    print("\n".join(fallen))
    return 1 if fallen else 0


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
