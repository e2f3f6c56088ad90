"""From what is asked for to the matrix of runs: methods x labeled cases x seeds x draws, and both bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import semivox
from semivox.compare.entries import Entry, parse_entry, wishes_of
from semivox.compare.footnotes import footnotes_of, ground_of
from semivox.config import RunConfig
from semivox.data.splits import choose_split
from semivox.errors import InputError, UsageError, did_you_mean
from semivox.matrix import ALL, BOUND, Matrix, Role, RunSpec
from semivox.methods import get_method
from semivox.metrics.conventions import PROTOCOLS
from semivox.recipes import merge, resolve

if TYPE_CHECKING:
    from semivox.data.store import Store

KEEP_WEIGHTS = "keep_weights_every"
"""Setting of the engine that keeps weights on the way."""
NO_UNLABELED = "not run where all scans are labeled: no unlabeled ones would be left"


class Wanted(NamedTuple):
    """What the command line asks for."""

    methods: tuple[str, ...]
    labeled: tuple[int | Literal["all"], ...]
    seeds: tuple[int, ...] = (0,)
    draws: int = 1
    """Labeled subsets: the stored order, and ``draws - 1`` random ones."""
    steps: int | None = None
    settings: tuple[str, ...] = ()
    """``key=value`` for all runs."""
    validation: int = 0
    protocol: str | None = None
    reference: str = BOUND
    peek_every: int | None = None


class Place(NamedTuple):
    """Where a run stands in the matrix."""

    entry: Entry
    labeled: int | Literal["all"]
    draw: int | None
    seed: int


def plan_matrix(store: Store, wanted: Wanted) -> Matrix:
    """Plan all runs, and refuse what cannot work before anything is started.

    Raises:
        UsageError: an unknown name or key, more cases than there are, or settings that contradict each other.
        InputError: the store has no test cases to score.
    """
    require_tests(store)
    entries = list(dict.fromkeys(map(parse_entry, wanted.methods)))
    require_reference(entries, wanted.reference)
    steps = wanted.steps or get_method(BOUND).published_steps
    places = list(dict.fromkeys(places_of(entries, wanted)))
    idle = idle_places(store, places, wanted)
    runs = [spec_of(store, place, wanted, steps=steps) for place in places if place not in idle]
    require_different(runs)
    for spec in runs:
        resolve(store.plan, spec.wishes)
    asked = {"methods": list(wanted.methods), "labeled": list(wanted.labeled), "seeds": list(wanted.seeds),
             "draws": wanted.draws, "steps": steps, "set": list(wanted.settings)}
    matrix = Matrix(
        semivox_version=semivox.__version__, dataset=store.name, store=str(store.path.resolve()),
        store_digest=store.digest, protocol=protocol_of(store, wanted.protocol), reference=wanted.reference,
        validation=wanted.validation, peek_every=wanted.peek_every, asked=asked, runs=tuple(runs), footnotes=())
    return matrix._replace(footnotes=tuple(notes_of(store, matrix, idle)))


def places_of(entries: Sequence[Entry], wanted: Wanted) -> Iterator[Place]:
    """Every place, seed by seed: lower bound, the methods, upper bound. With all labels there is nothing to draw."""
    bound, draws = Entry(BOUND), [None, *range(1, wanted.draws)]
    for seed, draw, labeled in product(wanted.seeds, draws, wanted.labeled):
        for entry in (bound, *entries):
            yield Place(entry, labeled, None if labeled == ALL else draw, seed)
        yield Place(bound, ALL, None, seed)


def idle_places(store: Store, places: Sequence[Place], wanted: Wanted) -> set[Place]:
    """Places in which a method that learns from unlabeled scans would have none.

    Raises:
        UsageError: D13, more labeled or validation cases are asked for than there are.
    """
    idle = set()
    for place in places:
        count = place.labeled if isinstance(place.labeled, int) else None
        split = choose_split(store, labeled=count, draw=place.draw, validation=wanted.validation)
        if not split.unlabeled and get_method(place.entry.method).uses_unlabeled:
            idle.add(place)
    return idle


def spec_of(store: Store, place: Place, wanted: Wanted, *, steps: int) -> RunSpec:
    """One run, with its folder and what it wishes of the configuration."""
    entry, labeled, draw, seed = place
    variant = "-".join([entry.variant, f"steps_{steps}", *[f"draw_{draw}"] * (draw is not None)])
    method: dict[str, Any] = {"name": entry.method} | ({"drop": list(entry.dropped)} if entry.dropped else {})
    data = {"labeled": None if labeled == ALL else labeled, "labeled_draw": draw, "validation": wanted.validation}
    engine = {"steps": steps} | ({KEEP_WEIGHTS: wanted.peek_every} if wanted.peek_every else {})
    wishes = merge(wishes_of(wanted.settings, entry.method), wishes_of(entry.settings, entry.method))
    wishes = merge(wishes, {"method": method, "profile": entry.profile, "data": data, "engine": engine, "seed": seed})
    folders = (store.name, entry.method, variant, f"labeled_{labeled}", f"seed_{seed}")
    role: Role = "method"
    if entry == Entry(BOUND):
        role = "upper_bound" if labeled == ALL else "lower_bound"
    return RunSpec("/".join(map(folder_name, folders)), entry.method, entry.profile, entry.dropped, variant, labeled,
                   draw, seed, steps, role, wishes)


def notes_of(store: Store, matrix: Matrix, idle: set[Place] | None = None) -> list[dict[str, Any]]:
    """All footnotes: what differs between the methods, and which places are empty."""
    first = {spec.label: spec for spec in reversed(matrix.runs) if spec.role != "upper_bound"}
    configs: dict[str, RunConfig] = {label: resolve(store.plan, spec.wishes) for label, spec in first.items()}
    reference = next((label for label, spec in first.items() if is_reference(spec, matrix)), "")
    order = list(dict.fromkeys(spec.label for spec in matrix.runs if spec.label in configs))
    notes = footnotes_of({label: ground_of(configs[label], store.plan) for label in order}, reference)
    lower = {spec.label for spec in matrix.runs if spec.role == "lower_bound"}
    upper = list(dict.fromkeys(spec.label for spec in matrix.runs if spec.role == "upper_bound"))
    for note in notes:  # the same method twice: it is as unlike the others, and has no second voice in what is common
        note["methods"] = [*note["methods"], *(upper if lower.intersection(note["methods"]) else ())]
    absent = list(dict.fromkeys(spec_of(store, place, _nothing(matrix), steps=1).label for place in idle or ()))
    if absent:
        notes.append({"methods": sorted(absent), "text": NO_UNLABELED})
    return notes


def is_reference(spec: RunSpec, matrix: Matrix) -> bool:
    """Whether a run belongs to the method that the others are compared with."""
    plain = spec.profile == "default" and not spec.dropped and not spec.changes
    return spec.method == matrix.reference and plain and spec.role != "upper_bound"


def protocol_of(store: Store, wanted: str | None) -> Literal["literature", "clinical"]:
    """The protocol: distances in mm, unless the spacing is unknown or the literature's is asked for.

    Raises:
        UsageError: C1, an unknown name; C3, mm are asked for and the spacing is unknown.
    """
    known = store.plan.spacing_known
    name = wanted or ("clinical" if known else "literature")
    if name not in PROTOCOLS:
        raise UsageError("C1", "--protocol", f"'{name}' is unknown", did_you_mean(name, PROTOCOLS))
    if name == "clinical" and not known:
        raise UsageError("C3", "--protocol", "clinical has distances in mm, the spacing of these scans is unknown",
                         "use --protocol literature: its distances are in voxels")
    return cast(Literal["literature", "clinical"], name)


def require_tests(store: Store) -> None:
    """Refuse a store in which there is nothing to score.

    Raises:
        InputError: D2.
    """
    if not any(case.role == "test" and case.reference for case in store.cases):
        raise InputError("D2", store.path, "no test scan with a reference in this store, there is nothing to score",
                         "put test scans into imagesTs and their labels into labelsTs, and prepare again")


def require_reference(entries: Sequence[Entry], reference: str) -> None:
    """Refuse a reference that does not take part.

    Raises:
        UsageError: C1, with the near match.
    """
    known = [BOUND, *(entry.method for entry in entries if entry == Entry(entry.method))]
    if reference not in known:
        raise UsageError("C1", f"--reference {reference}", "not a method of this comparison in its default form",
                         did_you_mean(reference, dict.fromkeys(known)))


def require_different(runs: Sequence[RunSpec]) -> None:
    """Refuse entries that are not the same and would share a folder.

    Raises:
        UsageError: C3.
    """
    seen: dict[str, RunSpec] = {}
    for spec in runs:
        if seen.setdefault(spec.path, spec) != spec:
            raise UsageError("C3", "--methods", f"two entries would share the folder {spec.path}",
                             "name each setting once, in the same way")


def folder_name(text: str) -> str:
    """A name that is one folder: ``package.module:Class`` is ``package.module.Class``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", ".", text).strip(".") or "dataset"


def _nothing(matrix: Matrix) -> Wanted:
    return Wanted((), (), validation=matrix.validation)
