"""Which prediction belongs to which reference, and whether the two lie on one grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from semivox.errors import InputError, UsageError
from semivox.imaging.files import Header, is_image_file, read_header, split_ending
from semivox.imaging.geometry import max_corner_distance_mm, rounding_mm
from semivox.wording import count_of, first_names, printable


class Pair(NamedTuple):
    """One case to score."""

    case: str
    """Base name of the reference, without file ending."""
    prediction: Path | None
    """None when it is missing and counts as an empty label map."""
    reference: Path


def find_pairs(predictions: Path, references: Path, *, missing: str) -> tuple[list[Pair], list[str]]:
    """Match the label maps of two folders by base name, regardless of file ending.

    Args:
        predictions: folder of predicted label maps.
        references: folder of reference label maps; each of them is a case.
        missing: ``"error"``, or ``"worst"`` to count a missing prediction as an empty one.

    Returns:
        The pairs, sorted by case, and the names of predictions without a reference.

    Raises:
        UsageError: when a folder does not exist, or both are the same.
        InputError: P9 when a prediction is missing; D2 when there is no reference; D6 when two files have one base
            name.
    """
    found, wanted = label_maps(predictions), label_maps(references)
    if predictions.resolve() == references.resolve():
        raise UsageError("C3", predictions, "is named as the folder of predictions and of references",
                         "name the predictions first, then the references")
    if not wanted:
        raise InputError("D2", references, "holds no label map (.nii.gz, .nii, .nrrd, .mha)",
                         "name the folder of the reference label maps")
    absent = [case for case in wanted if case not in found]
    if absent and missing != "worst":
        raise _absent_error(predictions, absent, wanted=wanted, found=found)
    pairs = [Pair(case, found.get(case), wanted[case]) for case in sorted(wanted)]
    return pairs, sorted(set(found) - set(wanted))


def label_maps(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by base name; hidden files and other formats are left out.

    Raises:
        UsageError: D1 when the folder does not exist.
        InputError: D6 when two files have one base name.
    """
    if not folder.is_dir():
        raise UsageError("D1", folder, "is not a folder", "name a folder of label maps")
    maps: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not is_image_file(path):
            continue
        case = split_ending(path.name)[0]
        if case in maps:
            raise InputError("D6", folder, f"holds case '{printable(case)}' twice: {printable(maps[case].name)} and "
                             f"{printable(path.name)}", "keep one of them")
        maps[case] = path
    return maps


def check_grids(pairs: Sequence[Pair]) -> list[Header]:
    """Compare shape and geometry of each pair from the headers alone, before anything is computed.

    Returns:
        The header of each reference.

    Raises:
        InputError: P9 naming the first case that does not fit, with the values of both files, and how many more.
    """
    headers, faults = [], []
    for pair in pairs:
        reference = read_header(pair.reference)
        headers.append(reference)
        fault = None
        if pair.prediction is not None:
            fault = grid_fault(read_header(pair.prediction), reference, what="the prediction")
        if fault:
            faults.append((pair, fault))
    if faults:
        pair, (problem, fix) = faults[0]
        more = f" ({count_of(len(faults) - 1, 'more case')} with such a fault)" if len(faults) > 1 else ""
        raise InputError("P9", f"case {printable(pair.case)}", problem + more, fix)
    return headers


def grid_fault(scan: Header, reference: Header, *, what: str = "the scan") -> tuple[str, str] | None:
    """Problem and fix when a file does not lie on the grid of the reference, else None."""
    if scan.shape != reference.shape:
        return (f"{what} has shape {_by(scan.shape)}, the reference {_by(reference.shape)}",
                "predict on the scan that the reference was drawn on")
    first, second = scan.geometry, reference.geometry
    if not (first.spacing_known and second.spacing_known):
        return None
    distance_mm = max_corner_distance_mm(first, second, reference.shape)
    if distance_mm <= rounding_mm(second):
        return None
    return (f"{what} and the reference lie on different grids, corners up to {distance_mm:.3g} mm apart (spacing "
            f"{_by(first.spacing_mm)} and {_by(second.spacing_mm)} mm, origin {_by(first.origin_mm)} and "
            f"{_by(second.origin_mm)} mm)",
            "bring the prediction to the grid of the reference with nearest-neighbor resampling")


def _by(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:.6g}" for number in numbers)


def _absent_error(
    predictions: Path, absent: list[str], *, wanted: dict[str, Path], found: dict[str, Path]
) -> InputError:
    problem = f"no prediction for {len(absent)} of {count_of(len(wanted), 'reference')}: {first_names(absent)}"
    extra = sorted(set(found) - set(wanted))
    if extra:
        problem += f"; without a reference: {first_names(extra)}"
    return InputError("P9", predictions, printable(problem),
                      "predict these cases, or pass --missing worst to count each as an empty prediction")
