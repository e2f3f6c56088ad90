"""Planes show the right side up, and contours lie on the pixels' edges."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from matplotlib.image import imread

from semivox.report.slices import PLANES, contour_path, draw_planes, gray_png, png
from semivox.report.volumes import CaseVolumes


def volumes(**changes: object) -> CaseVolumes:
    image = np.zeros((20, 16, 12), np.float32)
    image[15:, :, :] = 100  # the patient's left
    image[:, :4, :] = 50  # anterior
    image[:, :, 9:] = 200  # superior
    mask = np.zeros(image.shape, np.uint8)
    mask[8:12, 6:10, 4:8] = 1
    found = CaseVolumes("c", image, mask, {"CAML": np.roll(mask, 1, 0)}, (1.0, 1.0, 2.0), True, (5, 6, 7), (40, 40, 40))
    return found._replace(**changes)


def pixels(picture: dict) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(picture["image"])), format="png")


def test_planes_are_turned_as_radiologists_look_at_them() -> None:
    axial, coronal, sagittal = draw_planes(volumes())
    assert [plane["name"] for plane in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert pixels(axial).shape == (16, 20)
    assert pixels(axial)[12, 18] > pixels(axial)[12, 2]  # left of the patient on the right
    assert pixels(axial)[1, 5] > pixels(axial)[12, 5]  # anterior on top
    assert pixels(coronal)[0, 5] > pixels(coronal)[11, 5]  # superior on top
    assert (coronal["width"], coronal["height"]) == (20, 24)
    assert axial["slice"] == 7 + 6 + 1
    assert [plane.letters for plane in PLANES] == ["RLAP", "RLSI", "APSI"]


def test_a_contour_surrounds_its_pixels_in_millimeters() -> None:
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4, 3:6] = 1
    numbers = [float(text) for text in re.findall(r"-?[\d.]+", contour_path(labels, (2.0, 1.0)))]
    points = np.cumsum(np.array(numbers).reshape(-1, 2), axis=0)
    np.testing.assert_allclose([points.min(0), points.max(0)], [[6, 2], [12, 4]], atol=0.01)


def test_every_class_has_its_outline_and_nothing_has_none() -> None:
    labels = np.zeros((8, 8), np.uint8)
    assert contour_path(labels, (1, 1)) == ""
    labels[1:3, 1:3], labels[4:7, 4:7] = 1, 2
    assert contour_path(labels, (1, 1)).count("M") == 2


def test_contours_of_reference_and_predictions_are_in_every_plane() -> None:
    for plane in draw_planes(volumes()):
        assert set(plane["paths"]) == {"reference", "CAML"}
        assert all(plane["paths"].values())


def test_without_a_scan_or_an_orientation_there_is_no_picture_and_no_letter() -> None:
    plane = draw_planes(volumes(image=None, oriented=False))[0]
    assert plane["image"] is None
    assert plane["letters"] == []
    assert plane["name"] == "across axis 3"


def test_pictures_are_gray_png_of_bounded_size() -> None:
    section = np.linspace(0, 1, 700 * 500).reshape(700, 500)
    decoded = imread(io.BytesIO(base64.b64decode(gray_png(section, (0, 1)))), format="png")
    assert max(decoded.shape) <= 320
    assert imread(io.BytesIO(png(np.array([[0, 128], [255, 3]], np.uint8))), format="png")[1, 0] == 1
