"""Write the table of ``docs/performance.md`` from ``results/speed.csv``: ``python benchmarks/speed_page.py``."""

from __future__ import annotations

from pathlib import Path

from contests import ALL
from speed import read_rows

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: benchmarks/speed_page.py -->", "<!-- end of table -->"


def main() -> None:
    """Replace what is between the two marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}", encoding="utf-8")


def tables() -> str:
    """One table for each machine's row of the full form."""
    parts = []
    for row in read_rows():
        if not row["form"].startswith("quick"):
            parts.append(f"{row['processor']}, {row['cores']} cores, {row['device'].upper()}"
                         f"{row['form'].removeprefix('full')}:\n\n{table(row)}")
    return "\n\n".join(parts)


def table(row: dict[str, str]) -> str:
    """Markdown of one machine's row."""
    lines = ["| What | Against | Ours | Theirs | Times faster | Goal | Peak memory, ours / theirs |",
             "|---|---|---|---|---|---|---|"]
    for contest in ALL:
        cells = [row.get(f"{contest.name}_{part}", "") for part in ("ours_s", "theirs_s", "ratio", "ours_mb",
                                                                    "theirs_mb")]
        if not cells[0]:
            continue
        ours, theirs, ratio, ours_mb, theirs_mb = map(float, cells)
        goals = [f"{contest.target:g}"] if contest.target else []
        goals += [f"memory {contest.memory_target:g}"] if contest.memory_target else []
        missed = bool(contest.target and ratio < contest.target) or row[f"{contest.name}_same"] == "no"
        missed = missed or bool(contest.memory_target and ours_mb > contest.memory_target * theirs_mb)
        why = "not met: results differ more than allowed" if row[f"{contest.name}_same"] == "no" else "not met"
        factor = f"**{ratio:.2f}** ({why})" if missed else f"{ratio:.2f}"
        memory = f"{ours_mb:.0f} / {theirs_mb:.0f} MB" if contest.memory else "-"
        lines.append(f"| {contest.what} | {contest.theirs.name} | {seconds(ours)} | {seconds(theirs)} | {factor} | "
                     f"{', '.join(goals) or '-'} | {memory} |")
    return "\n".join(lines)


def seconds(value: float) -> str:
    """Seconds, or milliseconds where that reads better."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


if __name__ == "__main__":
    main()
