"""What was asked for, and the protocol in words."""

from __future__ import annotations

from typing import Any

from semivox.evaluation.tables import TITLES
from semivox.matrix import ALL
from semivox.metrics.conventions import DEFINITIONS
from semivox.report.collect import without_paths
from semivox.report.source import Source
from semivox.report.words import listed
from semivox.wording import count_of

Fact = tuple[str, str]
NAMES = {"hd95": "HD95", "asd": "ASD", "assd": "ASSD", "nsd": "NSD", "dice": "Dice", "jaccard": "Jaccard"}


def asked_facts(source: Source) -> list[Fact]:
    """The request, one fact a line."""
    matrix, run = source.matrix, source.any_run
    specs = matrix.runs
    labels = sorted({spec.labeled for spec in specs}, key=lambda count: (count == ALL, count if count != ALL else 0))
    facts = [("dataset", matrix.dataset), ("methods", listed(list(dict.fromkeys(spec.label for spec in specs)))),
             ("labeled cases", ", ".join(map(str, labels))),
             ("seeds", ", ".join(map(str, sorted({spec.seed for spec in specs}))))]
    drawn = sorted({spec.draw for spec in specs if spec.draw is not None})
    if drawn:
        stored = "the stored order, and " * any(spec.draw is None and spec.labeled != ALL for spec in specs)
        numbers = ", ".join(map(str, drawn))
        facts.append(("labeled draws", f"{stored}{count_of(len(drawn), 'random subset')} ({numbers})"))
    facts.append(("steps", ", ".join(f"{steps:,}" for steps in sorted({spec.steps for spec in specs}))))
    if not source.single:
        facts += [("compared with", source.table.reference),
                  ("runs", f"{len(source.collected.finished)} of {len(specs)} finished")]
    if matrix.validation:
        facts.append(("validation cases", str(matrix.validation)))
    changed = matrix.asked.get("set") or []
    if changed:
        facts.append(("settings changed", without_paths(", ".join(map(str, changed)))))
    if source.single and run is not None:
        facts.append(("profile", run.spec.profile))
    if source.single:
        facts = [({"methods": "method", "seeds": "seed"}.get(name, name), text) for name, text in facts]
    return [fact for fact in facts if fact[1]]


def protocol_sentences(source: Source) -> list[str]:
    """How training and scoring went, for readers who know neither the program nor its defaults."""
    run = source.any_run
    if run is None:
        return []
    data, engine, network, optimizer = (run.config.get(name, {}) for name in ("data", "engine", "network", "optimizer"))
    split = run.origin.get("split", {})
    lines = [_subset(source), _network(source, network, data, engine),
             f"Optimizer {optimizer.get('name', '').upper()}, learning rate {optimizer.get('lr')}, schedule "
             f"{optimizer.get('schedule')} (that of {run.spec.label}; a method may define its own).",
             "The last checkpoint counts: nothing was selected by scores of the test cases."]
    if split.get("test"):
        lines.append(f"The {count_of(len(split['test']), 'test case')} were not seen in training, not even as "
                     "unlabeled images.")
    if split.get("validation"):
        lines.append(f"{count_of(len(split['validation']), 'validation case')} from the end of the train list were "
                     "scored on the way; their labels were not used for training.")
    return [*lines, *_scoring(source)]


def _subset(source: Source) -> str:
    """Which cases are labeled, and what the others are."""
    specs = [spec for spec in source.matrix.runs if spec.labeled != ALL]
    if not specs:
        return "All training images are labeled."
    draws = {spec.draw for spec in specs}
    first, drawn = "the first of the train list, as in the literature", "random draws of the train list"
    which = first if draws == {None} else drawn if None not in draws else f"{first}, and {drawn}"
    held = "except those for validation " * bool(source.matrix.validation)
    whole = "" if len(specs) == len(source.matrix.runs) else ", save in the runs with all labels"
    return f"The labeled cases are {which}, the same for all methods; all other training images {held}are " \
           f"unlabeled{whole}."


def _network(source: Source, network: dict[str, Any], data: dict[str, Any], engine: dict[str, Any]) -> str:
    patch = " × ".join(map(str, data.get("patch_size", ())))
    steps = sorted({spec.steps for spec in source.matrix.runs})
    each = "" if source.single else "Every method has the same backbone, number of steps, augmentation and " \
                                    "post-processing unless a footnote says otherwise. "
    batch = data.get("labeled_per_batch", 0) + data.get("unlabeled_per_batch", 0)
    return (f"{each}Network {network.get('name')}, patches of {patch} voxels, {batch} in a batch, "
            f"{' or '.join(f'{count:,}' for count in steps)} optimizer steps, {data.get('augmentation')} augmentation, "
            f"{engine.get('precision')}.")


def _scoring(source: Source) -> list[str]:
    measures = source.table.measures
    unit = "voxels" if source.matrix.protocol == "literature" else "millimeters"
    lines = [f"Scores follow the protocol “{source.matrix.protocol}”: {listed([TITLES[each] for each in measures])}; "
             f"distances are in {unit}."]
    kinds = [measure.partition("_")[0] for measure in measures]
    lines += [f"{NAMES[kind]}: {DEFINITIONS[kind]}." for kind in kinds if kind in DEFINITIONS]
    return [*lines, "A structure that is missed, or found where there is none, counts with overlap 0 and the image "
                    "diagonal as distance. One that is in neither mask is in no mean."]
