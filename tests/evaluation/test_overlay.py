from __future__ import annotations

from collections.abc import Callable

import matplotlib.image
import numpy as np
import pytest

from semivox.errors import InputError
from semivox.evaluation.evaluate import evaluate
from semivox.evaluation.overlay import choose_cases
from semivox.evaluation.panels import ON_SCAN, ON_WHITE, View, center_of, window_of


def picture(folders, **options: object) -> np.ndarray:
    evaluate(folders.predictions, folders.references, folders.out, **options)  # type: ignore[arg-type]
    return matplotlib.image.imread(folders.out / "overlay.png")[..., :3]


def has_color(pixels: np.ndarray, color: str) -> bool:
    wanted = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return bool((np.abs(pixels - wanted).max(-1) < 0.02).sum() > 20)


def view(reference: np.ndarray, prediction: np.ndarray) -> View:
    return View("title", None, reference, prediction, (1.0, 2.0, 3.0), oriented=True)


def test_worst_median_and_best_are_chosen_by_dice(scored: Callable) -> None:
    folders = scored()
    found = evaluate(folders.predictions, folders.references, folders.out)
    assert [(choice.rank, choice.case) for choice in choose_cases(found)] == [
        ("worst", "spurious"), ("median", "missed"), ("best", "good")]


@pytest.mark.parametrize(("count", "ranks"), [(1, ["only case"]), (2, ["worst", "best"])])
def test_fewer_cases_give_fewer_rows(folders, count: int, ranks: list[str]) -> None:
    for index in range(count):
        folders.add(f"case{index}", folders.cube(1, 4 + index), folders.cube(1, 4))
    found = evaluate(folders.predictions, folders.references, folders.out)
    assert [choice.rank for choice in choose_cases(found)] == ranks


def test_masks_alone_are_drawn_with_both_contours(folders) -> None:
    folders.add("a", folders.cube(2, 6), folders.cube(1, 5))
    pixels = picture(folders)
    assert min(pixels.shape[:2]) > 300
    assert all(has_color(pixels, color) for color in ON_WHITE)


def test_contours_are_drawn_on_the_scan(folders) -> None:
    folders.add("a", folders.cube(2, 6), folders.cube(1, 5))
    folders.add_image("a_0000")
    pixels = picture(folders, images=folders.images)
    assert all(has_color(pixels, color) for color in ON_SCAN)
    assert not has_color(pixels, ON_WHITE[0])
    gray = (np.ptp(pixels, axis=-1) < 0.01) & (pixels[..., 0] > 0.2) & (pixels[..., 0] < 0.8)
    assert gray.mean() > 0.2


@pytest.mark.parametrize("problem", ["absent", "other grid"])
def test_a_scan_that_does_not_fit_leaves_the_masks_alone(folders, problem: str) -> None:
    folders.add("a", folders.cube(2, 6), folders.cube(1, 5))
    if problem == "other grid":
        folders.add_image("a", folders.geometry._replace(origin_mm=(99.0, 0.0, 0.0)))
    assert has_color(picture(folders, images=folders.images), ON_WHITE[0])


def test_a_damaged_scan_is_an_error(folders) -> None:
    folders.add("a", folders.cube(2, 6), folders.cube(1, 5))
    folders.add_image("a")
    path = folders.images / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="a.nii.gz"):
        picture(folders, images=folders.images)


def test_cases_in_which_nothing_is_to_be_found_are_drawn_too(folders) -> None:
    folders.declare({"background": 0, "liver": 1})
    folders.add("$a_{$ [b]", folders.nothing, folders.nothing)
    assert picture(folders).std() > 0.01


def test_planes_go_through_the_center_of_the_reference(folders) -> None:
    assert center_of(view(folders.cube(2, 5), folders.cube(6, 9))) == (3, 6, 4)
    assert center_of(view(np.zeros(folders.shape, int), folders.cube(6, 9))) == (7, 6, 4)
    assert center_of(view(np.zeros(folders.shape, int), np.zeros(folders.shape, int))) == (6, 7, 5)


def test_the_window_holds_both_masks_and_ends_with_the_scan(folders) -> None:
    window = window_of(view(folders.cube(0, 3), folders.cube(6, 9)))
    assert window.low[0] == -0.5
    assert window.low[1] < 3.5 * 2.0
    assert window.high[0] > 8.5
    whole = window_of(view(np.zeros(folders.shape, int), np.zeros(folders.shape, int)))
    assert whole.sides.tolist() == [12.0, 28.0, 30.0]
