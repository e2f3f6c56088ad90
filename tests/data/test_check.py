"""The table of bad inputs: each breaks a good dataset in one place, and `semivox check` says so in one line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest

from semivox.cli import run
from semivox.data.check import check_dataset, run_check
from semivox.errors import ResourceError, UsageError


class Row(NamedTuple):
    """One bad input and what must be said about it."""

    code: str
    severity: str
    subject: str
    """File or case that the line must name."""
    text: str
    """Part of the problem."""
    fix: str
    """Part of the fix."""
    break_it: Callable[[Any], object]


def tree(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()}


def check(folder: Any, *options: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code and findings of the command, which must leave the dataset as it was."""
    before, report = tree(folder.root), folder.root.parent / "check.json"
    code = run(["check", str(folder.root), "--out", str(report), *options])
    assert tree(folder.root) == before
    return code, json.loads(report.read_text())["problems"]


def patch_header(folder: Any, name: str, **fields: Any) -> None:
    """Change header fields of a .nii.gz behind the back of nibabel, which would repair them."""
    path = folder.root / name
    data = bytearray(gzip.decompress(path.read_bytes()))
    header = np.frombuffer(data, dtype=nibabel.Nifti1Header.template_dtype, count=1)
    for key, value in fields.items():
        header[key][0] = value
    path.write_bytes(gzip.compress(bytes(data)))


def cut(folder: Any, name: str, size: int) -> None:
    path = folder.root / name
    path.write_bytes(path.read_bytes()[:size])


def damage(folder: Any, name: str, position: int) -> None:
    data = bytearray((folder.root / name).read_bytes())
    data[position] ^= 0xFF
    (folder.root / name).write_bytes(data)


def same_voxels(folder: Any, source: str, target: str, how: str = "copy") -> None:
    """Write the scan of ``source`` again in another file."""
    scan = nibabel.load(folder.root / source)
    values, affine = np.asarray(scan.dataobj), scan.affine
    if how == "gzip level":
        folder.path(target).write_bytes(gzip.compress(gzip.decompress((folder.root / source).read_bytes()), 1))
    elif how == "header":
        folder.write(target, values, affine=affine + np.eye(4)[[3, 3, 3, 3]] * 7)
    elif how == "dtype":
        folder.write(target, values.astype(np.float64), affine=affine)
    else:
        shutil.copy(folder.root / source, folder.path(target))


def one_voxel(value: float) -> np.ndarray:
    array = np.zeros((16, 16, 16), np.float32 if isinstance(value, float) else np.uint8)
    array[1, 2, 3] = value
    return array


def integer_dataset(folder: Any) -> None:
    """Whole-number voxels in case a, so that every voxel type can hold them."""
    folder.image("imagesTr/a_0000.nii.gz", np.rint(folder.voxels("a")).astype(np.float32))


def nan_voxel(folder: Any) -> None:
    values = folder.voxels("x")
    values[1, 2, 3] = np.nan
    folder.image("imagesTr/u_0000.nii.gz", values)


def wide_values(folder: Any) -> None:
    for index in range(8):
        folder.image(f"imagesUn/x{index}_0000.nii.gz")
    folder.image("imagesUn/odd_0000.nii.gz", folder.voxels("odd") * 1000)


def odd_spacing(folder: Any) -> None:
    folder.image("imagesTr/u_0000.nii.gz", affine=np.diag([10.0, 10.0, 20.0, 1.0]))


def sheared(folder: Any) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 1] = 0.2
    folder.image("imagesTr/u_0000.nii.gz", affine=affine)
    patch_header(folder, "imagesTr/u_0000.nii.gz", qform_code=0)


def half_values(folder: Any) -> None:
    mask = folder.mask().astype(np.float32)
    mask[3, 5:11, 4:9] = 0.5
    mask[10, 5:11, 4:9] = 0.25
    folder.label("labelsTr/a.nii.gz", mask)


def one_fraction(folder: Any) -> None:
    mask = folder.mask().astype(np.float32)
    mask[5, 5, 5] = 0.5
    folder.label("labelsTr/a.nii.gz", mask)


def specks(folder: Any) -> None:
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[::4, ::4, ::4] = 1
    folder.label("labelsTr/a.nii.gz", mask)


def moved_channel(folder: Any) -> None:
    for path in sorted(folder.root.glob("images*/*_0000.nii.gz")):
        folder.image(str(path.relative_to(folder.root)).replace("_0000", "_0001"))
    folder.declare(channel_names={"0": "T1", "1": "T2"})
    folder.image("imagesTr/b_0001.nii.gz", folder.voxels("b", (16, 16, 15)))


def missing_channel(folder: Any) -> None:
    for path in sorted(folder.root.glob("images*/*_0000.nii.gz")):
        folder.image(str(path.relative_to(folder.root)).replace("_0000", "_0001"))
    folder.remove("imagesTr/b_0001.nii.gz")


def all_background(folder: Any) -> None:
    for name in "abc":
        folder.label(f"labelsTr/{name}.nii.gz", np.zeros((16, 16, 16), np.uint8))


def all_labeled(folder: Any) -> None:
    folder.remove("imagesTr/u_0000.nii.gz", "imagesTr/v_0000.nii.gz")


def many_cases(folder: Any, *, classes: int = 1) -> None:
    """Ten labeled cases whose structures lie at the same place, brighter than the rest."""
    folder.declare(labels={"background": 0, "organ": 1, "other": 2})
    for index in range(10):
        rng = np.random.default_rng(index)
        values = rng.normal(0, 1, (16, 16, 16)).astype(np.float32)
        mask = np.zeros((16, 16, 16), np.uint8)
        mask[1:5, 2 + index % 2:7, 4:9] = 1
        if classes == 2:
            mask[11:15, 2:7, 4:9] = 2
        values[mask == 1] += 4
        values[mask == 2] -= 3
        folder.image(f"imagesTr/m{index}_0000.nii.gz", values)
        folder.label(f"labelsTr/m{index}.nii.gz", mask)


def flipped(folder: Any) -> None:
    many_cases(folder)
    mask = np.asarray(nibabel.load(folder.root / "labelsTr/m4.nii.gz").dataobj)
    folder.label("labelsTr/m4.nii.gz", mask[::-1])


def swapped(folder: Any) -> None:
    many_cases(folder, classes=2)
    mask = np.asarray(nibabel.load(folder.root / "labelsTr/m7.nii.gz").dataobj)
    folder.label("labelsTr/m7.nii.gz", np.array([0, 2, 1], np.uint8)[mask])


def edit(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def break_it(folder: Any) -> None:
        folder.write(name, change(np.asarray(nibabel.load(folder.root / name).dataobj)))
    return break_it


IMAGE, MASK = "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"
GZ_SIZE_TAIL = 4
ROWS = {
    "mask without image": Row("D4", "error", "labelsTr/zz.nii.gz", "no image", "remove the mask",
                              lambda f: f.label("labelsTr/zz.nii.gz")),
    "channel missing": Row("D5", "error", "b", "channel 1 is missing", "add the file", missing_channel),
    "two files of one case": Row("D6", "error", "a", "imagesTr/a_0000.nii and imagesTr/a_0000.nii.gz", "keep one",
                                 lambda f: f.image("imagesTr/a_0000.nii")),
    "names that differ in case": Row("D6", "error", "a", "imagesTr/a_0000.nii.gz and imagesUn/A_0000.nii.gz",
                                     "a name of its own", lambda f: f.image("imagesUn/A_0000.nii.gz")),
    "duplicate in training": Row("D7", "warning", IMAGE, "imagesTr/a_0000.nii.gz, imagesTr/u_0000.nii.gz", "keep one",
                                 lambda f: same_voxels(f, IMAGE, "imagesTr/u_0000.nii.gz")),
    "training scan in test": Row("D8", "error", IMAGE, "imagesTs/t_0000.nii.gz", "one of the two sides",
                                 lambda f: same_voxels(f, IMAGE, "imagesTs/t_0000.nii.gz")),
    "training scan in test, gzip level": Row("D8", "error", IMAGE, "imagesTs/t_0000.nii.gz", "two sides", lambda f:
                                             same_voxels(f, IMAGE, "imagesTs/t_0000.nii.gz", "gzip level")),
    "training scan in test, header": Row("D8", "error", IMAGE, "imagesTs/q_0000.nii.gz", "one of the two sides",
                                         lambda f: same_voxels(f, IMAGE, "imagesTs/q_0000.nii.gz", "header")),
    "training scan in test, voxel type": Row("D8", "error", IMAGE, "imagesTs/t_0000.nii.gz", "two sides", lambda f: (
        integer_dataset(f), same_voxels(f, IMAGE, "imagesTs/t_0000.nii.gz", "dtype"))),
    "unlabeled scan in test": Row("D9", "error", "imagesTr/u_0000.nii.gz", "imagesTs/w_0000.nii.gz", "unlabeled scans",
                                  lambda f: same_voxels(f, "imagesTr/u_0000.nii.gz", "imagesTs/w_0000.nii.gz")),
    "patient on both sides": Row("D10", "error", "patients.csv", "patient p1 is in training (a) and in test (t)",
                                 "on one side", lambda f: f.path("patients.csv").write_text(
                                     "case,patient\na,p1\nb,p2\nc,p3\nu,p4\nv,p5\nt,p1\nw,p6\n")),
    "patients of few cases": Row("D10", "warning", "patients.csv", "of 6 of 7 cases: b, c, u, v, t and 1 more",
                                 "every case", lambda f: f.path("patients.csv").write_text("case,patient\na,p1\n")),
    "patients without columns": Row("D10", "error", "patients.csv", "has the columns x, y", "case and patient",
                                    lambda f: f.path("patients.csv").write_text("x,y\n1,2\n")),
    "list names no case": Row("D12", "error", "splits.json", "without files: zz", "remove the names",
                              lambda f: f.json("splits.json", {"train": ["a", "zz"]})),
    "case in two lists": Row("D12", "error", "splits.json", "in both the train and the test list: a", "in one list",
                             lambda f: f.json("splits.json", {"train": ["a"], "test": ["a"]})),
    "nothing labeled": Row("D13", "error", ".", "0 labeled training cases, the minimum is 1", "labelsTr",
                           lambda f: shutil.rmtree(f.root / "labelsTr")),
    "nothing unlabeled": Row("D13", "warning", ".", "only the method `supervised` fits", "imagesUn", all_labeled),
    "control character in a name": Row("D15", "error", "x\ny", "control characters", "rename",
                                       lambda f: f.image("imagesUn/x\ny_0000.nii.gz")),
    "hidden files": Row("D16", "note", ".", "2 hidden or system files ignored", "nothing to do", lambda f: (
        f.path("imagesTr/._a_0000.nii.gz").write_bytes(b"x"), f.path("labelsTr/.DS_Store").write_bytes(b"x"))),
    "zero bytes": Row("D17", "error", IMAGE, "zero-byte", "again", lambda f: cut(f, IMAGE, 0)),
    "Git LFS pointer": Row("D17", "error", IMAGE, "Git LFS pointer", "git lfs pull", lambda f: f.path(IMAGE).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "HTML page": Row("D17", "error", IMAGE, "HTML", "download", lambda f: f.path(IMAGE).write_text(
        "<!DOCTYPE html><title>404</title>")),
    "unfinished download": Row("D17", "error", "imagesTr/z.nii.gz.part", "unfinished download", "download",
                               lambda f: f.path("imagesTr/z.nii.gz.part").write_bytes(b"x")),
    "unknown format": Row("D2", "warning", "imagesTr", "imagesTr/z.mhd", "convert",
                          lambda f: f.path("imagesTr/z.mhd").write_bytes(b"x")),
    "other file": Row("D2", "note", "imagesTr", "imagesTr/z.txt", "nothing to do",
                      lambda f: f.path("imagesTr/z.txt").write_bytes(b"x")),
    "voxels missing": Row("I1", "error", "imagesTr/a_0000.nii", "16,384 voxel bytes", "again", lambda f: (
        f.image("imagesTr/a_0000.nii"), f.remove(IMAGE), cut(f, "imagesTr/a_0000.nii", 9000))),
    "gzip cut in the middle": Row("I2", "error", IMAGE, "ends early", "again", lambda f: cut(f, IMAGE, 5000)),
    "gzip trailer missing": Row("I2", "error", MASK, "ends early", "again",
                                lambda f: cut(f, MASK, (f.root / MASK).stat().st_size - GZ_SIZE_TAIL)),
    "gzip checksum": Row("I3", "error", IMAGE, "", "again", lambda f: damage(f, IMAGE, -6)),
    "true type is another": Row("I5", "error", IMAGE, "NIfTI", "rename", lambda f: f.path(IMAGE).write_bytes(
        gzip.decompress((f.root / IMAGE).read_bytes()))),
    "dimension 0": Row("I6", "error", IMAGE, "0", "export", lambda f: patch_header(
        f, IMAGE, dim=(3, 16, 0, 16, 1, 1, 1, 1))),
    "dimension negative": Row("I6", "error", IMAGE, "-16", "export",
                              lambda f: patch_header(f, IMAGE, dim=(3, 16, -16, 16, 1, 1, 1, 1))),
    "bomb": Row("I7", "error", IMAGE, "limit is 8 GB", "crop",
                lambda f: patch_header(f, IMAGE, dim=(3, 32767, 32767, 32767, 1, 1, 1, 1))),
    "spacing 0": Row("I8", "error", IMAGE, "spacing 0", "mm", lambda f: patch_header(
        f, IMAGE, pixdim=(1, 0, 1, 2, 1, 1, 1, 1), sform_code=0)),
    "spacing NaN": Row("I9", "error", IMAGE, "nan", "mm", lambda f: patch_header(
        f, IMAGE, pixdim=(1, np.nan, 1, 2, 1, 1, 1, 1), sform_code=0)),
    "sheared": Row("I10", "error", "imagesTr/u_0000.nii.gz", "sheared", "resample", sheared),
    "sform against qform": Row("I11", "error", IMAGE, "qform", "", lambda f: patch_header(
        f, IMAGE, qform_code=1, qoffset_x=30.0)),
    "four dimensions": Row("I16", "error", IMAGE, "16 x 16 x 8 x 2", "file of its own",
                           lambda f: f.image(IMAGE, np.ones((16, 16, 8, 2), np.float32))),
    "trailing axis": Row("I16", "note", IMAGE, "16 x 16 x 16 x 1", "nothing",
                         lambda f: f.image(IMAGE, f.voxels("a")[..., None])),
    "one slice": Row("I17", "error", "imagesTr/u_0000.nii.gz", "16 x 16 x 1", "stack",
                     lambda f: f.image("imagesTr/u_0000.nii.gz", f.voxels("u")[:, :, :1])),
    "NaN voxels": Row("I18", "error", "imagesTr/u_0000.nii.gz", "1 voxels are NaN", "replace", nan_voxel),
    "constant": Row("I19", "error", "imagesTr/u_0000.nii.gz", "one value (range 7 to 7)", "export",
                    lambda f: f.image("imagesTr/u_0000.nii.gz", np.full((16, 16, 16), 7, np.float32))),
    "nearly constant": Row("I19", "error", "imagesTr/u_0000.nii.gz", "more than 99.9 %", "export",
                           lambda f: f.image("imagesTr/u_0000.nii.gz", one_voxel(1.5))),
    "constant test scan": Row("I19", "warning", "imagesTs/t_0000.nii.gz", "one value", "export", lambda f: f.image(
        "imagesTs/t_0000.nii.gz", np.full((16, 16, 16), 7, np.float32))),
    "no Hounsfield units": Row("I20", "warning", IMAGE, "not Hounsfield units", "rescale slope",
                               lambda f: f.declare(channel_names={"0": "CT"})),
    "other units": Row("I20", "warning", "imagesUn/odd_0000.nii.gz", "intensities span", "same units", wide_values),
    "small scan": Row("I21", "note", "u", "the smallest is 16 x 16 x 8", "nothing",
                      lambda f: f.image("imagesTr/u_0000.nii.gz", f.voxels("u")[:, :, :8])),
    "anisotropic": Row("I22", "warning", "u", "ratio 12.0", "header", lambda f: f.image(
        "imagesTr/u_0000.nii.gz", affine=np.diag([0.5, 0.5, 6.0, 1.0]))),
    "spacing in other units": Row("I22", "warning", "u", "10 x 10 x 20 mm", "unit", odd_spacing),
    "mask of another shape": Row("I26", "error", MASK, "16 x 16 x 15", "resample",
                                 lambda f: f.label(MASK, f.mask()[:, :, :15])),
    "channel of another shape": Row("I26", "error", "imagesTr/b_0001.nii.gz", "16 x 16 x 15", "resample",
                                    moved_channel),
    "mask elsewhere": Row("I27", "error", MASK, "up to 5 mm", "geometry", lambda f: f.label(
        MASK, affine=np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))),
    "flipped mask": Row("I29", "warning", "labelsTr/m4.nii.gz", "organ", "look at", flipped),
    "rounded mask": Row("I30", "note", MASK, "rounded", "nothing", edit(MASK, lambda m: m * np.float32(0.9999999))),
    "fraction in a mask": Row("I30", "error", MASK, "not whole numbers", "integer type", one_fraction),
    "undeclared value": Row("I31", "error", MASK, "3 (1 voxel); declared are 0 background, 1 organ",
                            "declare the value", edit(MASK, lambda mask: np.maximum(mask, one_voxel(3)))),
    "values 0 and 255": Row("I31", "error", MASK, "255 (180 voxels)", "change 255 to 1", edit(MASK, lambda m: m * 255)),
    "negative value": Row("I31", "error", MASK, "-1", "0 (background)", edit(MASK, lambda m: -m.astype(np.int16))),
    "empty mask": Row("I32", "warning", MASK, "all background", "replace the mask", edit(MASK, np.zeros_like)),
    "full mask": Row("I32", "warning", MASK, "no background", "background is 0", edit(MASK, np.ones_like)),
    "only empty masks": Row("I32", "error", "labelsTr", "all 3 training masks", "at least one", all_background),
    "interpolated mask": Row("I33", "error", MASK, "interpolated", "nearest neighbor", half_values),
    "swapped classes": Row("I34", "warning", "labelsTr/m7.nii.gz", "1 (organ) and 2 (other) look swapped", "exchange",
                           swapped),
    "few voxels": Row("I35", "warning", MASK, "organ has 1 voxel", "stray",
                      edit(MASK, lambda _: one_voxel(1))),
    "isolated voxels": Row("I35", "warning", MASK, "organ has 64 voxels, none touching", "stray", specks),
    "no dataset.json": Row("J1", "note", "labelsTr", "background, class_1", "dataset.json",
                           lambda f: f.remove("dataset.json")),
    "broken dataset.json": Row("J1", "error", "dataset.json", "line 1, column 2", "correct",
                               lambda f: f.path("dataset.json").write_text("{,}")),
    "unknown key": Row("J4", "note", "dataset.json", "'colour' is unknown", "", lambda f: f.declare(colour="red")),
    "classes with a gap": Row("J5", "error", "dataset.json", "not consecutive", "renumber",
                              lambda f: f.declare(labels={"background": 0, "organ": 2})),
    "wrong count": Row("J6", "warning", "dataset.json", "is 99, imagesTr holds 5 cases", "correct",
                       lambda f: f.declare(numTraining=99)),
    "wrong number of channels": Row("J8", "warning", "dataset.json", "declares 2 channels, the files have 1", "correct",
                                    lambda f: f.declare(channel_names={"0": "a", "1": "b"})),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_each_bad_input_is_one_line_that_names_it_and_the_fix(row: Row, folder: Any) -> None:
    row.break_it(folder)
    code, problems = check(folder)
    found = [p for p in problems if (p["code"], p["severity"]) == row[:2] and row.subject in p["subject"]]
    assert len(found) == 1, problems
    assert row.text in found[0]["problem"]
    assert row.fix in found[0]["fix"]
    # One fault is one error: no others come with it, and a warning or a note alone is no reason to fail.
    assert [p["code"] for p in problems if p["severity"] == "error"] == [row.code] * (row.severity == "error")
    assert code == (3 if row.severity == "error" else 0)


def test_a_good_dataset_has_no_errors_and_no_warnings(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, problems = check(folder)
    assert code == 0
    assert {problem["severity"] for problem in problems} == {"note"}
    lines = capsys.readouterr().out.splitlines()
    assert "data (nnunet): 3 labeled cases, 2 unlabeled, 2 test (2 with a reference)" in lines
    assert "channels: MRI; classes: background, organ" in lines
    assert "shape 16 x 16 x 16 voxels; spacing 1 x 1 x 2 mm" in lines
    assert "0 errors, 0 warnings, 1 note" in lines


def test_a_class_that_is_absent_from_a_mask_is_fine(folder: Any) -> None:
    folder.declare(labels={"background": 0, "organ": 1, "rare": 2})
    assert {problem.severity for problem in check_dataset(folder.root)} == {"note"}


def test_geometry_that_differs_by_rounding_is_accepted(folder: Any) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 5e-4
    folder.label(MASK, affine=affine)
    assert {problem.severity for problem in check_dataset(folder.root)} == {"note"}


def test_all_problems_are_found_at_once(folder: Any) -> None:
    for name in ("voxels missing", "mask without image", "NaN voxels", "wrong count", "list names no case"):
        ROWS[name].break_it(folder)
    found = {problem.code for problem in check_dataset(folder.root)}
    assert {"I1", "D4", "I18", "J6", "D12"} <= found


def test_patients_are_found_by_a_regular_expression(folder: Any) -> None:
    for name in ("imagesTr/p07_x", "imagesTs/p07_y"):
        folder.image(f"{name}_0000.nii.gz")
    code, problems = check(folder, "--patient-regex", "(p[0-9]+)_")
    texts = [problem["problem"] for problem in problems if problem["code"] == "D10" and problem["severity"] == "error"]
    assert code == 3
    assert texts == ["patient p07 is in training (p07_x) and in test (p07_y)"]


def test_a_wrong_regular_expression_is_a_usage_error(folder: Any) -> None:
    with pytest.raises(UsageError, match="--patient-regex"):
        check_dataset(folder.root, patient_regex="(")


def test_several_processes_find_what_one_finds(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ROWS["undeclared value"].break_it(folder)
    ROWS["gzip checksum"].break_it(folder)
    alone = run_check(folder.root, workers=1)
    monkeypatch.setattr("semivox.data.check.SERIAL_BYTES", 0)
    assert run_check(folder.root, workers=2) == alone


@pytest.mark.parametrize(("content", "code", "text"), [(None, 2, "SVX-D1"), ("empty", 3, "SVX-D2")])
def test_a_folder_that_is_no_dataset_ends_in_one_line_on_stderr(tmp_path: Path, content: str | None, code: int,
                                                               text: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    if content:
        root.mkdir()
    assert run(["check", str(root)]) == code
    lines = capsys.readouterr().err.splitlines()
    assert [text in line and str(root) in line for line in lines] == [True]


def test_a_killed_worker_is_a_lack_of_memory_and_not_a_crash(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semivox.data.check.CaseJob", lambda *_: 9)
    monkeypatch.setattr("semivox.data.check._bytes_at_most", lambda *_: False)
    monkeypatch.setattr("semivox.data.check.examine_case", os._exit)
    with pytest.raises(ResourceError, match="worker process was killed") as caught:
        check_dataset(folder.root, workers=2)
    assert caught.value.exit_code == 5


def test_more_than_fifty_findings_are_counted_on_screen_and_written_in_full(
        folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(60):
        folder.path(f"imagesUn/x{index:02d}.nii.gz").write_bytes(b"")
    _, problems = check(folder)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ERROR SVX-D17") for line in lines) == 50
    assert "... and 10 more errors (--out FILE writes all)" in lines
    assert sum(problem["code"] == "D17" for problem in problems) == 60


def test_a_report_never_replaces_a_file_of_the_dataset(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(folder.root)
    assert run(["check", str(folder.root), "--out", str(folder.root / "dataset.json")]) == 2
    assert "SVX-C6" in capsys.readouterr().err
    assert tree(folder.root) == before


def test_an_earlier_report_may_be_replaced_wherever_it_lies(folder: Any) -> None:
    report = str(folder.root / "check.json")
    assert [run(["check", str(folder.root), "--out", report]) for _ in range(2)] == [0, 0]


def test_help_shows_an_example_that_works(folder: Any, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["check", "--help"]) == 0
    example = next(line for line in capsys.readouterr().out.splitlines() if "Example:" in line)
    words = example.split("semivox ", 1)[1].replace("│", "").split()
    monkeypatch.chdir(folder.root.parent)
    folder.root.rename(folder.root.parent / "DATA")
    assert run(words) == 0


def test_a_damaged_hdf5_case_is_named_once(tmp_path: Path) -> None:
    for name in ("X1", "X2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mri_norm2.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + struct.pack("<Q", 0))
    found = [problem for problem in check_dataset(tmp_path) if problem.severity == "error"]
    assert [(problem.code, problem.subject) for problem in found] == [
        ("I46", "X1/mri_norm2.h5"), ("I46", "X2/mri_norm2.h5")]


def test_real_scans_of_the_left_atrium_raise_no_false_alarm(shared_data: Path) -> None:
    assert check_dataset(shared_data / "la_half") == []


def stack_channels(folder: Any, count: int = 2) -> None:
    for path in folder.root.glob("images*/*_0000.nii.gz"):
        values = np.stack([folder.voxels((path.name, channel)) for channel in range(count)], axis=-1)
        path.unlink()
        folder.image(f"{path.parent.name}/{path.name.replace('_0000', '')}", values)
    folder.declare(channel_names=None, modality={"0": "T1", "1": "T2"})


def test_channels_along_a_fourth_axis_are_channels_when_several_are_declared(folder: Any) -> None:
    stack_channels(folder)
    result = run_check(folder.root, workers=1)
    assert [problem for problem in result.problems if problem.severity != "note"] == []
    assert result.summary["channels"] == ["T1", "T2"]


def test_a_constant_channel_inside_a_4d_file_is_found(folder: Any) -> None:
    stack_channels(folder)
    values = np.stack([folder.voxels("x"), np.ones((16, 16, 16), np.float32)], axis=-1)
    folder.image("imagesTr/b.nii.gz", values)
    assert [(problem.code, problem.subject) for problem in check_dataset(folder.root, workers=1)
            if problem.severity == "error"] == [("I19", "imagesTr/b.nii.gz")]


def test_a_fourth_axis_is_refused_where_one_channel_is_declared(folder: Any) -> None:
    folder.image("imagesTr/b_0000.nii.gz", np.stack([folder.voxels("x"), folder.voxels("y")], axis=-1))
    assert [problem.code for problem in check_dataset(folder.root, workers=1) if problem.severity == "error"] == ["I16"]
