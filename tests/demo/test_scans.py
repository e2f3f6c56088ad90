"""Generated scans: real files, the same for the same seed, and with the anatomy they promise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from semivox.data.dataset import find_dataset
from semivox.demo.anatomy import STRUCTURES, draw_anatomy, make_grid
from semivox.demo.scans import ScanSettings, generate_scan, write_dataset
from semivox.errors import UsageError
from semivox.imaging.files import read_image, read_label

SMALL = {"shape": (36, 36, 28), "spacing_mm": (3.0, 3.0, 4.0)}
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(str(file.relative_to(folder)).encode() + file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    counts = {"train": 2, "labeled": 1, "test": 1, **SMALL}
    first, second, other = (
        digest(write_dataset(tmp_path / str(number), seed=seed, **counts)) for number, seed in enumerate((3, 3, 4))
    )
    assert first == second
    assert first != other


def test_folders_hold_what_was_asked_for(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, train=3, labeled=2, test=1, unlabeled=2, splits_json=True, **SMALL)
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    names = {folder.name: sorted(file.name for file in folder.iterdir()) for folder in folders}
    assert names == {
        "imagesTr": ["chest_001_0000.nii.gz", "chest_002_0000.nii.gz", "chest_003_0000.nii.gz"],
        "labelsTr": ["chest_001.nii.gz", "chest_002.nii.gz"],
        "imagesUn": ["chest_004_0000.nii.gz", "chest_005_0000.nii.gz"],
        "imagesTs": ["chest_006_0000.nii.gz"],
        "labelsTs": ["chest_006.nii.gz"],
    }
    assert json.loads((root / "splits.json").read_text()) == {
        "train": ["chest_001", "chest_002", "chest_003"], "test": ["chest_006"],
    }  # fmt: skip
    assert json.loads((root / "dataset.json").read_text())["labels"] == {"background": 0, "atrium": 1}


def test_our_own_reader_finds_no_problem_in_them(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, train=3, labeled=3, test=1, unlabeled=1, splits_json=True, **SMALL)
    dataset = find_dataset(root)
    assert [problem.line() for problem in dataset.problems] == []
    assert [case.role for case in dataset.cases] == ["train"] * 3 + ["unlabeled", "test"]


def test_json_files_can_be_left_out(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, train=1, labeled=1, test=1, dataset_json=False, **SMALL)
    assert not (root / "dataset.json").exists()
    assert not (root / "splits.json").exists()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_files_read_back_with_their_geometry(tmp_path: Path, ending: str) -> None:
    root = write_dataset(tmp_path, train=1, labeled=1, test=0, ending=ending, direction=OBLIQUE, **SMALL)
    scan = generate_scan(0, ScanSettings(direction=OBLIQUE, **SMALL))
    image = read_image(root / "imagesTr" / f"chest_001_0000{ending}")
    label = read_label(root / "labelsTr" / f"chest_001{ending}")
    np.testing.assert_array_equal(image.array, scan.image[0])
    np.testing.assert_array_equal(label.array, scan.label)
    for read in (image, label):
        np.testing.assert_allclose(read.geometry.direction, OBLIQUE, atol=1e-5)
        np.testing.assert_allclose(read.geometry.spacing_mm, (3, 3, 4), rtol=1e-6)
        np.testing.assert_allclose(read.geometry.origin_mm, scan.geometry.origin_mm, atol=1e-3)


@pytest.mark.parametrize("classes", range(2, len(STRUCTURES) + 2))
def test_every_class_is_in_every_label(classes: int) -> None:
    for number in range(4):
        label = generate_scan(number, ScanSettings(classes=classes, **SMALL)).label
        assert np.unique(label).tolist() == list(range(classes))


def test_channels_show_the_same_body_with_other_contrasts() -> None:
    image = generate_scan(0, ScanSettings(channels=3, **SMALL)).image
    assert image.shape == (3, 36, 36, 28)
    assert 0.5 < np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1] < 0.999


def test_the_organ_is_one_piece_with_thin_attachments() -> None:
    for number in range(2):
        label = generate_scan(number, ScanSettings(shape=(72, 72, 64), spacing_mm=(1.5, 1.5, 1.5))).label
        pieces, count = ndimage.label(label, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert count >= 1
        assert sizes.max() > 0.97 * sizes.sum()
        thick = ndimage.binary_opening(label, iterations=3)
        thin_share = 1 - np.count_nonzero(thick & (label > 0)) / np.count_nonzero(label)
        assert 0.02 < thin_share < 0.4


def test_neighbors_have_the_intensity_of_the_organ_but_for_the_bias_field() -> None:
    ratios = []
    for number in range(10):
        scan = generate_scan(number, ScanSettings(classes=3, **SMALL))
        organ, neighbor = (np.median(scan.image[0][scan.label == value]) for value in (1, 2))
        ratios.append(float(np.log(neighbor / organ)))
    assert min(ratios) < 0 < max(ratios)
    assert abs(np.mean(ratios)) < 0.1
    assert np.median(np.abs(ratios)) < 0.2


def test_contrast_differs_between_scans() -> None:
    ratios = []
    for number in range(8):
        scan = generate_scan(number, ScanSettings(**SMALL))
        around = ndimage.binary_dilation(scan.label, iterations=3) & ~ndimage.binary_dilation(scan.label)
        ratios.append(np.median(scan.image[0][scan.label == 1]) / np.median(scan.image[0][around]))
    assert max(ratios) > 1.25 * min(ratios)


def test_structures_do_not_overlap() -> None:
    anatomy = draw_anatomy(make_grid((48, 48, 40), (2.0, 2.0, 2.0)), np.random.default_rng(0), variability=1.0)
    inside = np.stack([distance < 0 for distance in anatomy.structures])
    assert inside.sum(axis=0).max() == 1
    assert all(part.any() for part in inside)


def test_sizes_are_physical() -> None:
    volumes = []
    for shape, spacing_mm in (((80, 80, 56), (1.5, 1.5, 2.0)), ((60, 60, 112), (2.0, 2.0, 1.0))):
        scan = generate_scan(5, ScanSettings(shape=shape, spacing_mm=spacing_mm))
        volumes.append(np.count_nonzero(scan.label) * np.prod(spacing_mm))
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


def test_spacing_jitter_gives_every_scan_a_grid_of_its_own_over_the_same_field_of_view() -> None:
    scans = [generate_scan(number, ScanSettings(spacing_jitter=0.25, **SMALL)) for number in range(4)]
    assert len({scan.geometry.spacing_mm for scan in scans}) == 4
    for scan in scans:
        np.testing.assert_allclose(np.multiply(scan.label.shape, scan.geometry.spacing_mm), (108, 108, 112), rtol=1e-3)


def test_difficulty_zero_gives_clean_copies_and_more_difficulty_more_noise() -> None:
    def noise(difficulty: float) -> float:
        image = generate_scan(1, ScanSettings(difficulty=difficulty, **SMALL)).image[0]
        return float(image[:3, :3].std() / image.max())

    assert noise(0) < 0.01 < noise(0.5) < noise(1.5)
    first, second = (generate_scan(number, ScanSettings(difficulty=0, **SMALL)).label for number in range(2))
    overlap = 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))
    assert overlap > 0.85


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"classes": 7}, {"labeled": 3}])
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        write_dataset(tmp_path, **{"train": 2, "labeled": 1, "test": 1, **SMALL, **wrong})
