"""Worst, median and best case: planes with all contours, and surfaces for the viewer."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from semivox.evaluation.pairs import label_maps
from semivox.matrix import LAST, PREDICTIONS
from semivox.report.cache import cached, fingerprint
from semivox.report.case_files import find_cases
from semivox.report.rows import Row
from semivox.report.slices import draw_planes
from semivox.report.source import DICE, Source, case_scores
from semivox.report.surfaces import distances_mm, packed, surface_of
from semivox.report.volumes import CaseFiles, CaseVolumes, load_volumes

SHOWN_AT_FIRST = 8
"""Contours of more methods are switched on by the reader."""
MOST_MESHES = 66
"""Of about 65 kB each: the page stays below 8 MB."""
SCALE_PERCENTILE, SCALE_STEP_MM = 97, 0.5
"""Colors end at the distance below which this share of the best method's surface lies, rounded."""
REFERENCE = "reference"


def pictures_section(source: Source) -> dict[str, Any]:
    """Cases in pictures and the scene of the viewer.

    Returns:
        ``cases`` (rank, name, scores, planes), ``legend`` (label, number, whether it is shown at first), ``scene`` for
        the viewer or None, and ``missing``, a sentence when there are no pictures.
    """
    empty: dict[str, Any] = {"cases": [], "legend": [], "scene": None, "missing": ""}
    if not source.contest:
        return {**empty, "missing": "No test case is predicted and scored yet."}
    rows, files = source.pictured, chosen_files(source)
    if not files:
        return {**empty, "missing": "The test scans and their references are not where they were: the store has been "
                                    "moved or removed."}
    meshed = [row.label for row in rows][: max(1, MOST_MESHES // (len(files) * classes_of(source)) - 1)]
    built = []
    for number, (rank, each) in enumerate(files):
        key = fingerprint(each.all_paths, list(each.predictions), meshed)
        built.append((rank, cached(source.collected.out, f"case-{number}", key, partial(build_case, each, meshed))))
    shown = {row.label for row in rows[:SHOWN_AT_FIRST]}
    legend = [{"label": row.label, "number": number, "shown": row.label in shown} for number, row in enumerate(rows)]
    cases = [{"rank": rank, "name": case["name"], "planes": case["planes"], "scores": scores_of(rows, case["name"])}
             for rank, case in built]
    return {"cases": cases, "legend": legend, "scene": scene_of(source, built, meshed), "missing": ""}


def chosen_files(source: Source) -> list[tuple[str, CaseFiles]]:
    """Worst, lower median and best case of the best method, with every method's prediction of its first seed."""
    known = {case.name: case for case in find_cases(source.store)}
    dice = case_scores(source.contest[0], DICE)
    ranked = sorted((case for case in dice if case in known), key=lambda case: (dice[case], case))
    if not ranked:
        return []
    choice = {"Worst case": ranked[0], "Median case": ranked[(len(ranked) - 1) // 2], "Best case": ranked[-1]}
    if len(ranked) < 3:
        choice = {"Only case": ranked[0]} if len(ranked) == 1 else {"Worst case": ranked[0], "Best case": ranked[-1]}
    maps = {row.label: predictions_of(row) for row in source.pictured}
    return [(rank, CaseFiles(name, known[name].scans[0] if known[name].scans else None, known[name].reference,
                             {label: found[name] for label, found in maps.items() if name in found}))
            for rank, name in choice.items()]


def predictions_of(row: Row) -> dict[str, Any]:
    """Label maps of the first run of a row, by case."""
    folder = row.runs[0].folder / PREDICTIONS / LAST
    return dict(label_maps(folder)) if folder.is_dir() else {}


def build_case(files: CaseFiles, meshed: list[str]) -> dict[str, Any]:
    """Planes and meshes of a case as plain JSON values; ``meshed`` are the labels that get a mesh."""
    volumes = load_volumes(files)
    scene = meshes_of(volumes, meshed)
    return {"name": files.case, "planes": draw_planes(volumes), **scene}


def meshes_of(volumes: CaseVolumes, meshed: list[str]) -> dict[str, Any]:
    """Surfaces of every class of the reference and of the labels in ``meshed``, and where the viewer looks."""
    spacing = np.array(volumes.spacing_mm)
    extent = np.array(volumes.reference.shape) * spacing
    meshes: dict[str, Any] = {}
    errors: list[float] = []
    corners = [np.zeros(3), extent]
    values = [int(value) for value in np.unique(volumes.reference) if value]
    for value in values:
        truth = volumes.reference == value
        surface = surface_of(truth, volumes.spacing_mm)
        if surface is not None:
            meshes[f"{REFERENCE}|{value}"] = packed(surface, extent, None)
            low, high = surface.vertices_mm.min(0), surface.vertices_mm.max(0)
            corners = [low, high] if len(meshes) == 1 else [np.minimum(corners[0], low), np.maximum(corners[1], high)]
        for label in meshed:
            found = None if label not in volumes.predictions else surface_of(volumes.predictions[label] == value,
                                                                             volumes.spacing_mm)
            if found is not None:
                distances = distances_mm(found, truth, volumes.spacing_mm)
                errors += distances.tolist() if label == meshed[0] else []
                meshes[f"{label}|{value}"] = packed(found, extent, distances)
    scale = float(np.percentile(errors, SCALE_PERCENTILE)) if errors else 0.0
    return {"meshes": meshes, "values": values, "extent": extent.tolist(), "scale_mm": scale,
            "center": ((corners[0] + corners[1]) / 2).tolist(),
            "size": float(np.linalg.norm(corners[1] - corners[0]))}


def scene_of(source: Source, built: list[tuple[str, Any]], meshed: list[str]) -> dict[str, Any] | None:
    """Everything that the viewer reads; None without any mesh."""
    values = sorted({value for _, case in built for value in case["values"]})
    names = source.contest[0].runs[0].scores[LAST].class_names
    numbers = {label: str(number) for number, label in enumerate(meshed)} | {REFERENCE: REFERENCE}
    meshes = {}
    for item, (_, case) in enumerate(built):
        for key, mesh in case["meshes"].items():
            label, _, value = key.rpartition("|")
            meshes[f"{item}|{numbers[label]}|{values.index(int(value))}"] = mesh
    if not meshes:
        return None
    scale = max(case["scale_mm"] for _, case in built)
    return {
        "meshes": meshes, "extents": [case["extent"] for _, case in built],
        "centers": [case["center"] for _, case in built], "sizes": [case["size"] for _, case in built],
        "cases": [f"{rank}: {case['name']}" for rank, case in built],
        "structures": [names.get(value, str(value)) for value in values],
        "methods": meshed, "colors": [rgb(source.styles[label].color) for label in meshed],
        "scale_mm": max(1.0, round(scale / SCALE_STEP_MM) * SCALE_STEP_MM),
    }


def scores_of(rows: list[Row], case: str) -> list[dict[str, str]]:
    """What each method reaches in a case."""
    found = ((row.label, case_scores(row, DICE).get(case)) for row in rows)
    return [{"label": label, "score": f"{score:.1f}"} for label, score in found if score is not None]


def classes_of(source: Source) -> int:
    """Foreground classes."""
    return max(1, len(source.contest[0].runs[0].scores[LAST].class_names))


def rgb(color: str) -> list[int]:
    """``#rrggbb`` as three numbers."""
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]
