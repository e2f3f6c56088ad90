"""The top of the page: headline, numbers in tiles, and findings in sentences."""

from __future__ import annotations

from typing import Any

from semivox.matrix import LAST
from semivox.report import words
from semivox.report.rows import Row, reference_of
from semivox.report.source import DICE, Source, case_scores, dice_of
from semivox.report.words import Contender, Finding
from semivox.wording import count_of


def answer_section(source: Source) -> dict[str, Any]:
    """Values for the head of the page: ``headline``, ``tiles`` and ``findings``."""
    contest = [contender_of(row) for row in source.contest]
    if source.single:
        return run_answer(source, contest)
    everything = [contender_of(row) for row in source.finished if dice_of(row) is not None]
    base = reference_of(source.contest, source.matrix)
    reference = base.label if base is not None else source.matrix.reference
    failed = [run for run in source.collected.unfinished if run.job.state == "failed"]
    waiting = len(source.collected.unfinished) - len(failed)
    findings = words.findings(contest, everything, reference)
    if failed or waiting:
        counted = [f"{count_of(len(failed), 'run')} failed"] * bool(failed)
        counted += [f"{waiting} not finished"] * bool(waiting)
        total = count_of(len(source.collected.runs), "run")
        findings.append(Finding("Not complete", f"Of {total}, {' and '.join(counted)}. The numbers are of those that "
                                                "are there."))
    return {"headline": words.headline(contest), "tiles": tiles(source, contest, everything, reference),
            "findings": findings}


def tiles(source: Source, contest: list[Contender], everything: list[Contender], reference: str
          ) -> list[dict[str, str]]:
    """The numbers of the answer: a name, a value with its unit, and a line of what it means."""
    if not contest:
        return []
    best, found = contest[0], []
    spread = "" if best.std is None else f" ± {best.std:.1f} over {count_of(best.seeds, 'seed')}"
    found.append(tile(f"{best.label}, Dice", f"{best.mean:.1f}", "%",
                      f"{words.with_labels(best.labeled)}{spread}", source.styles[best.label].color))
    if best.difference is not None:
        interval = best.difference.interval
        found.append(tile(f"against {reference}", words.number(interval.mean, signed=True), "points",
                          f"95 % interval {words.bounds(interval)}"))
    gap = words.gap_between(best, contest[1]) if len(contest) > 1 else None
    if gap is not None and contest[1].label != reference:
        found.append(tile(f"ahead of {contest[1].label}", words.number(gap.mean, signed=True), "points",
                          f"95 % interval {words.bounds(gap)}"))
    closed = words.gap_closed(contest, everything)
    if closed is not None:
        found.append(tile("of the gap closed", words.number(closed, digits=0), "%",
                          "between supervised with these labels and with all"))
    if best.best is not None:
        share = "> 99" if best.best > 0.99 else f"{100 * best.best:.0f}"
        found.append(tile("best with other cases", share, "%", "of 10,000 resamples of the cases"))
    found.append(tile("structures missed", str(best.missed), f"of {best.structures}", f"by {best.label}"))
    return found


def tile(name: str, value: str, unit: str, line: str, color: str = "") -> dict[str, str]:
    """One number."""
    return {"name": name, "value": value, "unit": unit, "line": line, "color": color}


def contender_of(row: Row) -> Contender:
    """A row of the tables as the sentences read it; the row has a mean Dice."""
    standing = row.standing[DICE]
    mean = row.spread[DICE].mean
    assert mean is not None
    return Contender(row.label, row.labeled, row.role, mean, row.spread[DICE].seeds, row.spread[DICE].n_seeds,
                     standing.interval, case_scores(row, DICE), standing.difference, standing.best, row.missed,
                     row.structures)


def run_answer(source: Source, contest: list[Contender]) -> dict[str, Any]:
    """The head of the page of one run: what it reaches, and that one run says nothing about a method."""
    run = source.collected.runs[0]
    name = f"{run.spec.label} {words.with_labels(run.spec.labeled)}"
    validation = [row["validation"]["dice"] for row in run.metrics
                  if row.get("validation", {}).get("dice") is not None]
    caution = Finding("What this does not say", "One run says nothing about its method: another seed, or other cases, "
                                                "would give other numbers. `semivox compare` runs several.")
    found: list[Finding] = []
    numbers: list[dict[str, str]] = []
    if contest:
        best = contest[0]
        head = f"{name}: {best.mean:.1f} % Dice on {count_of(len(best.cases), 'test case')}."
        if best.interval is not None:
            found.append(Finding("How sure", f"With other cases of the same kind the mean would lie between "
                                             f"{words.bounds(best.interval)} % (95 % interval over cases)."))
        found.append(Finding("Missed structures", words.missed(contest)))
        numbers += [tile("Dice, test", f"{best.mean:.1f}", "%", count_of(len(best.cases), "case"),
                         source.styles[best.label].color),
                    tile("structures missed", str(best.missed), f"of {best.structures}", "test cases")]
    elif validation:
        head = f"{name}: {validation[-1]:.1f} % Dice on its validation cases."
        found.append(Finding("Test cases", "They are not predicted and scored yet, so the page shows curves, "
                                           "validation and data."))
    else:
        head = f"{name}: no scores yet."
    if validation:
        numbers.append(tile("Dice, validation", f"{validation[-1]:.1f}", "%",
                            f"highest on the way {max(validation):.1f}"))
    numbers.append(tile("steps", f"{run.steps_done:,}", f"of {run.spec.steps:,}", run.reason or "finished"))
    if LAST not in run.scores and run.reason not in (None, ""):
        numbers[-1]["line"] = "finished" if run.job.state == "done" else run.job.state
    return {"headline": head, "tiles": numbers, "findings": [*found, caution]}
