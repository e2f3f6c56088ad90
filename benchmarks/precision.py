"""Does bf16 cost accuracy? ``supervised`` on the left atrium at half resolution, 600 steps, in bf16 and in fp32.

    python benchmarks/precision.py DATA [--work scratch/la_half] [--seeds 0,1]

DATA is the folder of the scans. Everything but the precision of training, validation and prediction is the same: the
batches, the initial weights and the masks of dropout are those of the seed. Each run is resumed if it was stopped and
skipped if its row is there. The paired interval is over the 20 test cases, seeds averaged case by case.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from la_half import RESULTS, Files, Run, command, finish
from rows import read_rows

from semivox.evaluation.statistics import paired_interval

STEPS, LIMIT = 600, 3.0
FILES = Files(*(RESULTS / f"precision{end}" for end in (".csv", "_cases.csv", "_curves.json", "_comparison.json")))


def main() -> None:
    """Run what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("scratch/la_half"))
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    store = options.work / "store"
    command("prepare", options.data, store, "--recipe", "la_half")
    for seed in map(int, options.seeds.split(",")):
        for precision in ("bf16", "fp32"):
            run = Run("supervised", seed, (), f"-{precision}", precision)
            if run.name not in {row["run"] for row in read_rows(FILES.rows)}:
                finish(run, STEPS, store, work=options.work / "precision", files=FILES)
    compare()


def compare() -> None:
    """Print and write the paired difference bf16 - fp32."""
    scores: dict[str, dict[str, list[float]]] = {"bf16": {}, "fp32": {}}
    for row in read_rows(FILES.cases):
        precision = row["run"].split("-")[1]
        scores[precision].setdefault(row["case"], []).append(float(row["dice"]))
    means = {name: {case: sum(values) / len(values) for case, values in cases.items()}
             for name, cases in scores.items()}
    found = paired_interval(means["bf16"], means["fp32"])
    verdict = "holds" if abs(found.mean) <= LIMIT and found.low <= 0 <= found.high else "DOES NOT HOLD"
    print(f"bf16 - fp32: {found.mean:+.2f} Dice points, 95 % interval over {found.n} cases "
          f"[{found.low:+.2f}, {found.high:+.2f}]: at most {LIMIT:g} points and an interval with 0 {verdict}")
    seeds = len(next(iter(scores["bf16"].values())))
    FILES.comparison.write_text(json.dumps({"what": "bf16 - fp32, Dice points, seeds averaged by case", "seeds": seeds,
                                            **found._asdict()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
