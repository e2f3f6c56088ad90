"""The data: what is in the store, how the cases are split, what a check finds, and what three of them look like."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from semivox.data.check_store import check_store
from semivox.data.store import FINGERPRINT_JSON, Store
from semivox.errors import SemivoxError
from semivox.fsio import read_json
from semivox.imaging.geometry import orientation_of, reorient
from semivox.report.cache import cached, fingerprint
from semivox.report.collect import without_paths
from semivox.report.slices import PLANES, draw_planes
from semivox.report.source import Source
from semivox.report.volumes import CaseVolumes
from semivox.wording import count_of, printable

CHECKED_BYTES = 1_000_000_000
"""A larger store is not read whole for a report."""
MOST_PROBLEMS = 20
OVERLAYS = 3
SCHEMES = {"zscore": "each scan is brought to mean 0 and standard deviation 1",
           "ct": "clipped and scaled by the intensities of the whole dataset",
           "minmax": "each scan is brought to 0 to 1", "none": "taken as it is in the files"}


def data_section(source: Source) -> dict[str, Any]:
    """Facts, channels, problems and overlays; ``missing`` says why there are none.

    Returns:
        ``facts`` (name, text), ``channels`` (rows of a table), ``problems`` (lines), ``checked`` (what was checked, in
        words), ``overlays`` (name, plane) and ``missing``.
    """
    section: dict[str, Any] = {"facts": split_facts(source), "channels": [], "problems": [], "checked": "",
                               "overlays": [], "missing": ""}
    if source.store is None:
        return {**section, "missing": "The store is not where it was when the runs were made."}
    try:
        store = Store.read(source.store)
        section["facts"] += grid_facts(store)
        section["channels"] = channel_rows(store)
    except SemivoxError as error:
        return {**section, "missing": f"The store cannot be read: {without_paths(error.problem)}."}
    section["problems"], section["checked"] = problems_of(store, source.matrix.store_digest)
    section["overlays"] = overlays_of(source, store)
    return section


def split_facts(source: Source) -> list[tuple[str, str]]:
    """Numbers of cases, from the split of a run."""
    run = source.any_run
    split = {} if run is None else run.origin.get("split", {})
    if not split:
        return []
    train = len(split["labeled"]) + len(split["unlabeled"])
    held = len(split["validation"])
    name = "" if run is None or source.single else f" in {run.spec.label}"
    return [("training", f"{count_of(train, 'case')}, of which {len(split['labeled'])} are labeled{name}"),
            ("validation", f"{held} of the training images, scored with their own labels" if held else "none"),
            ("test", count_of(len(split["test"]), "case"))]


def grid_facts(store: Store) -> list[tuple[str, str]]:
    """Spacing, size, classes and preparation."""
    train = [case for case in store.cases if case.role != "test"] or list(store.cases)
    spacings = [case.geometry.spacing_mm for case in store.cases]
    known = all(case.geometry.spacing_known for case in store.cases)
    plan = store.plan
    resampled = "kept" if plan.spacing_mm is None else " × ".join(f"{step:g}" for step in plan.spacing_mm) + " mm"
    return [("spacing of the scans", f"{_range(spacings)} mm" if known else "not known"),
            ("spacing in training", resampled),
            ("size in training", f"{_range([case.shape for case in train])} voxels"),
            ("classes", ", ".join(plan.class_names[1:])),
            ("recipe", plan.recipe),
            ("left out", f"{count_of(len(store.failed), 'case')}, not prepared" if store.failed else "none")]


def channel_rows(store: Store) -> list[dict[str, str]]:
    """Intensities of each channel over the training images, and how they were normalized."""
    path = store.path / FINGERPRINT_JSON
    found = {entry["name"]: entry for entry in read_json(path)["channels"]} if path.is_file() else {}
    rows = []
    for channel in store.plan.channels:
        entry = found.get(channel.name, {})
        numbers = {key: _intensity(entry[key]) if key in entry else "–"
                   for key in ("minimum", "percentile_00_5", "percentile_50", "percentile_99_5", "maximum")}
        rows.append({"name": channel.name, "scheme": SCHEMES[channel.scheme], **numbers})
    return rows


def problems_of(store: Store, digest: str) -> tuple[list[str], str]:
    """What ``semivox check STORE`` finds, and what was checked in words."""
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    if size > CHECKED_BYTES:
        return [], f"Not checked again: the store has {size / 1e9:.1f} GB. `semivox check STORE` does."
    problems = check_store(store.path)
    lines = [without_paths(problem.line()) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
    if digest and store.digest != digest:
        lines.insert(0, "WARNING The store has changed since these runs were made: what is shown is of the new one.")
    found = "no problem" if not lines else count_of(len(lines), "finding")
    return lines, (f"`semivox check` of the store: {count_of(len(store.cases), 'case')}, every file with its checksum, "
                   f"{found}.")


def overlays_of(source: Source, store: Store) -> list[dict[str, Any]]:
    """Axial planes of the first, middle and last labeled case, with the label that training saw."""
    run = source.any_run
    names: Sequence[str] = () if run is None else run.origin.get("split", {}).get("labeled", ())
    chosen = [names[index] for index in sorted({0, len(names) // 2, len(names) - 1})][:OVERLAYS] if names else []
    found = []
    for number, name in enumerate(chosen):
        key = fingerprint([store.path / "cases" / name / "image.npy", store.path / "labels" / name / "label.npy"], name)
        plane = cached(source.collected.out, f"overlay-{number}", key, partial(overlay, store, name))
        if plane is not None:
            found.append({"name": printable(name), "plane": plane})
    return found


def overlay(store: Store, name: str) -> dict[str, Any] | None:
    """The axial plane through the label of a training case; None when its files are gone."""
    try:
        image, label, case = store.image(name), store.label(name), store.case(name)
    except SemivoxError:
        return None
    spacing = store.plan.spacing_mm
    if spacing is None:
        spacing = reorient(case.geometry, orientation_of(case.geometry), image.shape[1:]).spacing_mm
    x, y, z = label.shape
    volumes = CaseVolumes(name, np.asarray(image[0]), np.asarray(label), {}, spacing, case.geometry.spacing_known,
                          (0, 0, 0), (x, y, z))
    return draw_planes(volumes, PLANES[:1])[0]


def _intensity(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def _range(rows: Sequence[Sequence[float]]) -> str:
    """Smallest to largest along each axis."""
    axes = list(zip(*rows, strict=True))
    low, high = (" × ".join(f"{value:g}" for value in end) for end in (map(min, axes), map(max, axes)))
    return low if low == high else f"{low} to {high}"
