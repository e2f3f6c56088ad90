"""Preparing real files: what is written, that it can be stopped and repeated, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from semivox.data import case_writer
from semivox.data.prepare import prepare
from semivox.data.splits import choose_split
from semivox.data.store import Store
from semivox.errors import BusyError, InputError, PartialFailure, ResourceError, UsageError
from semivox.imaging.plan import plan_to_json

SHAPE = (24, 20, 18)


def blob(shape, seed: int, classes: int = 2) -> np.ndarray:
    """Nested boxes, one per class, at a place that depends on the seed."""
    label = np.zeros(shape, np.uint8)
    for index in range(1, classes):
        margin = [size // 5 + index + (seed + axis) % 2 for axis, size in enumerate(shape)]
        label[tuple(slice(start, size - start) for start, size in zip(margin, shape, strict=True))] = index
    return label


def image_of(label: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.2, label.shape)
    return (label * 2 + noise + seed % 3).astype(np.float32)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write_folder(root: Path, *, shape=SHAPE, affine=None, channels: int = 1, classes: int = 2,
                 describe: bool = True) -> Path:
    """3 labeled, 2 unlabeled, 1 test case."""
    affine = np.diag([-1.0, -1.0, 1.5, 1.0]) if affine is None else affine
    places = [("imagesTr", f"c{i}") for i in (1, 2, 3)] + [("imagesUn", "u1"), ("imagesTr", "u2"), ("imagesTs", "t1")]
    for seed, (folder, name) in enumerate(places):
        label = blob(shape, seed, classes)
        for channel in range(channels):
            write_nifti(root / folder / f"{name}_{channel:04d}.nii.gz", image_of(label, seed + 10 * channel), affine)
        if not name.startswith("u"):
            write_nifti(root / folder.replace("images", "labels") / f"{name}.nii.gz", label, affine)
    if describe:
        content = {"name": "tiny", "channel_names": {str(i): f"T{i + 1}" for i in range(channels)},
                   "file_ending": ".nii.gz", "numTraining": 3,
                   "labels": {"background": 0, **{f"part{i}": i for i in range(1, classes)}}}
        (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def data(tmp_path):
    return write_folder(tmp_path / "data")


def times(store: Store) -> dict[str, int]:
    return {path.relative_to(store.path).as_posix(): path.stat().st_mtime_ns
            for path in store.path.rglob("*") if path.suffix in (".npy", ".gz")}


def cases_rewritten(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {Path(name).parent.name for name in after if before.get(name) != after[name]}


def test_a_store_holds_all_that_later_verbs_need(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la_half", workers=0)
    assert store.name == "tiny"
    assert store.train_order == ("c1", "c2", "c3")
    assert {case.name: case.role for case in store.cases} == {
        "c1": "train", "c2": "train", "c3": "train", "u1": "unlabeled", "u2": "unlabeled", "t1": "test"}
    assert [case.name for case in store.cases if case.has_label] == ["c1", "c2", "c3", "t1"]
    assert sorted(path.name for path in (store.path / "cases").iterdir()) == ["c1", "c2", "c3", "u1", "u2"]
    assert sorted(path.name for path in (store.path / "labels").iterdir()) == ["c1", "c2", "c3"]
    for source, copy in (("imagesTs/t1_0000.nii.gz", "imagesTs/t1_0000.nii.gz"), ("labelsTs/t1.nii.gz",) * 2):
        assert (data / source).read_bytes() == (store.path / copy).read_bytes()
    assert store.verify() == []
    assert json.loads((store.path / "fingerprint.json").read_text())["case_count"] == 5
    assert store.plan.class_names == ("background", "part1")


def test_the_literature_recipes_change_no_value(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    for name, folder in (("c1", "imagesTr"), ("u1", "imagesUn")):
        source = nib.load(data / folder / f"{name}_0000.nii.gz").get_fdata(dtype=np.float32)
        assert np.array_equal(store.image(name)[0], source)
    assert np.array_equal(store.label("c2"), np.asarray(nib.load(data / "labelsTr/c2.nii.gz").dataobj))


def test_rotated_and_anisotropic_scans_are_turned_and_resampled_with_crisp_masks(tmp_path):
    affine = np.array([[0, 0, 4.0, -5], [0.9, 0, 0, 7], [0, -1.1, 0, 9], [0, 0, 0, 1]])
    data = write_folder(tmp_path / "data", shape=(30, 28, 12), affine=affine, classes=4)
    straight = np.diag([-2.0, -0.9, 1.1, 1])
    label = blob((14, 30, 28), 7, 4)
    write_nifti(data / "imagesTr/c9_0000.nii.gz", image_of(label, 7), straight)
    write_nifti(data / "labelsTr/c9.nii.gz", label, straight)
    store = prepare(data, tmp_path / "store", workers=0)
    assert store.plan.spacing_mm == (4.0, 0.9, 1.1)
    assert store.case("c1").shape == (12, 30, 28)
    assert store.case("c9").shape == (7, 30, 28)
    assert store.case("c1").geometry.spacing_mm == pytest.approx((0.9, 1.1, 4.0))
    for name in ("c1", "c9"):
        assert set(np.unique(store.label(name))) == {0, 1, 2, 3}
        assert store.image(name).mean() == pytest.approx(0, abs=1e-4)
        assert store.image(name).std() == pytest.approx(1, abs=1e-3)
        mean = [store.image(name)[0][store.label(name) == index].mean() for index in range(4)]
        assert mean == sorted(mean)
    assert set(store.foreground("c9")[:, 0]) == {1, 2, 3}


def test_several_channels_keep_their_order(tmp_path):
    data = write_folder(tmp_path / "data", channels=3)
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert [channel.name for channel in store.plan.channels] == ["T1", "T2", "T3"]
    for channel in range(3):
        source = nib.load(data / f"imagesTr/c1_{channel:04d}.nii.gz").get_fdata(dtype=np.float32)
        assert np.array_equal(store.image("c1")[channel], source)
    assert store.case("t1").images == tuple(f"imagesTs/t1_{i:04d}.nii.gz" for i in range(3))


def test_flat_scans_are_stored_so_that_a_slice_is_one_run_of_bytes(tmp_path):
    data = write_folder(tmp_path / "data", shape=(40, 36, 9), affine=np.diag([-1.0, -1.0, 8.0, 1]))
    store = prepare(data, tmp_path / "store", workers=0)
    assert (store.plan.dimensions, store.plan.network, store.plan.patch_size) == (2, "unet2d", (48, 48, 1))
    assert store.image("c1")[0, :, :, 3].flags.f_contiguous
    assert store.label("c1")[:, :, 3].flags.f_contiguous


def test_without_dataset_json_the_classes_come_from_the_masks(tmp_path):
    data = write_folder(tmp_path / "data", classes=4, describe=False)
    store = prepare(data, tmp_path / "store", workers=0)
    assert store.plan.class_names == ("background", "class_1", "class_2", "class_3")


def test_the_order_of_splits_json_is_kept_and_its_test_cases_are_not_trained_on(data, tmp_path):
    (data / "splits.json").write_text(json.dumps({"train": ["c3", "u1", "c1"], "test": ["c2", "t1"]}))
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert store.train_order == ("c3", "u1", "c1")
    assert store.case("c2").role == "test"
    assert (store.path / store.case("c2").reference).is_file()
    assert not (store.path / "cases" / "c2").exists()
    assert choose_split(store, labeled=1).labeled == ("c3",)


def write_la_folder(root: Path) -> Path:
    for seed, name in enumerate(("AA", "BB", "CC")):
        (root / name).mkdir(parents=True)
        label = blob((22, 18, 16), seed)
        with h5py.File(root / name / "mri_norm2.h5", "w") as file:
            file["image"], file["label"] = image_of(label, seed), label
    (root / "train.list").write_text("BB\nAA\n\n")
    (root / "test.list").write_text("CC\n")
    return root


def test_the_la_layout_of_the_literature_is_prepared(tmp_path):
    data = write_la_folder(tmp_path / "la")
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert store.train_order == ("BB", "AA")
    assert not store.plan.spacing_known
    with h5py.File(data / "BB" / "mri_norm2.h5") as file:
        assert np.array_equal(store.image("BB")[0], file["image"][()])
        assert np.array_equal(store.label("BB"), file["label"][()])
    with h5py.File(data / "CC" / "mri_norm2.h5") as file:
        copied = nib.load(store.path / store.case("CC").images[0])
        assert np.array_equal(copied.get_fdata(dtype=np.float32), file["image"][()])
        assert np.array_equal(np.asarray(nib.load(store.path / store.case("CC").reference).dataobj), file["label"][()])
    assert not store.case("CC").geometry.spacing_known


def test_the_fingerprint_reads_neither_test_images_nor_labels(data, tmp_path):
    first = prepare(data, tmp_path / "one", workers=0)
    affine = np.diag([-1.0, -1.0, 1.5, 1.0])
    write_nifti(data / "imagesTs/t1_0000.nii.gz", np.full(SHAPE, 1e4, np.float32), affine)
    write_nifti(data / "labelsTr/c1.nii.gz", blob(SHAPE, 5), affine)
    second = prepare(data, tmp_path / "two", workers=0)
    assert (first.path / "fingerprint.json").read_bytes() == (second.path / "fingerprint.json").read_bytes()
    assert first.plan == second.plan


def test_processes_give_the_same_bytes_as_one_process(data, tmp_path):
    alone = prepare(data, tmp_path / "alone", workers=0)
    together = prepare(data, tmp_path / "together", workers=2)
    files = {path.relative_to(alone.path) for path in alone.path.rglob("*") if path.is_file()}
    assert files == {path.relative_to(together.path) for path in together.path.rglob("*") if path.is_file()}
    for file in files:
        assert (alone.path / file).read_bytes() == (together.path / file).read_bytes(), file


def test_a_second_run_does_nothing_again(data, tmp_path):
    store = prepare(data, tmp_path / "store", workers=0)
    before, manifest = times(store), (store.path / "store.json").stat().st_mtime_ns
    again = prepare(data, tmp_path / "store", workers=0)
    assert times(again) == before
    assert (store.path / "store.json").stat().st_mtime_ns == manifest


def test_a_killed_run_is_continued_and_its_remains_are_removed(data, tmp_path):
    complete = prepare(data, tmp_path / "store", recipe="la", workers=0)
    reference = {name: np.array(complete.image(name)) for name in ("c1", "c2", "u1")}
    before = times(complete)
    (complete.path / "store.json").unlink()
    shutil.rmtree(complete.path / "cases" / "c2")
    leftover = complete.path / "cases" / ".tmp-123-c2"
    leftover.mkdir()
    (leftover / "image.npy").write_bytes(b"half")
    (complete.path / "imagesTs" / ".tmp-123-t1_0000.nii.gz").write_bytes(b"half")
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert cases_rewritten(before, times(store)) == {"c2"}
    assert not list(store.path.rglob(".tmp-*"))
    for name, image in reference.items():
        assert np.array_equal(store.image(name), image)


def test_kill_9_leaves_a_store_that_the_same_command_completes(data, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\nfrom semivox.data import prepare as room\nfull = room.write_case\n"
        "def slow(job):\n    done = full(job)\n    print(job.case.name, flush=True)\n    time.sleep(30)\n"
        "    return done\n"
        "room.write_case = slow\nroom.prepare(sys.argv[1], sys.argv[2], recipe='la', workers=0)\n")
    process = subprocess.Popen([sys.executable, script, data, tmp_path / "store"], stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match="semivox prepare"):
        Store.open(tmp_path / "store")
    before = (tmp_path / "store/cases" / first / "image.npy").stat().st_mtime_ns
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert (store.path / "cases" / first / "image.npy").stat().st_mtime_ns == before
    assert store.verify() == []


def test_changed_content_is_prepared_again_and_nothing_else(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    before = times(store)
    changed = image_of(blob(SHAPE, 0), 99)
    write_nifti(data / "imagesTr/c1_0000.nii.gz", changed, np.diag([-1.0, -1.0, 1.5, 1.0]))
    again = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert cases_rewritten(before, times(again)) == {"c1"}
    assert np.array_equal(again.image("c1")[0], changed)
    assert again.digest != store.digest


def test_a_changed_label_is_prepared_again(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    label = blob(SHAPE, 1)
    label[0, 0, 0] = 1
    write_nifti(data / "labelsTr/c1.nii.gz", label, np.diag([-1.0, -1.0, 1.5, 1.0]))
    again = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert np.array_equal(again.label("c1"), label)
    assert again.digest != store.digest


def test_cases_that_come_go_or_lose_their_label_are_followed(data, tmp_path):
    prepare(data, tmp_path / "store", recipe="la", workers=0)
    (data / "imagesUn/u1_0000.nii.gz").unlink()
    (data / "labelsTr/c3.nii.gz").unlink()
    label = blob(SHAPE, 3)
    write_nifti(data / "imagesTr/c4_0000.nii.gz", image_of(label, 3), np.diag([-1.0, -1.0, 1.5, 1.0]))
    write_nifti(data / "labelsTr/c4.nii.gz", label, np.diag([-1.0, -1.0, 1.5, 1.0]))
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert store.train_order == ("c1", "c2", "c4")
    assert "u1" not in {case.name for case in store.cases}
    assert not store.case("c3").has_label
    assert not (store.path / "labels" / "c3").exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "label"])
def test_a_damaged_case_is_prepared_again(data, tmp_path, damage):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    folder, name = ("labels", "label.npy") if damage == "label" else ("cases", "image.npy")
    path = store.path / folder / "c2" / name
    good = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(good[:-9] if damage == "truncate" else good[:-1] + bytes([good[-1] ^ 1]))
    again = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert path.read_bytes() == good
    assert again.verify() == []


def test_one_bad_case_is_left_out_and_listed(data, tmp_path):
    bad = data / "imagesTr/c2_0000.nii.gz"
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    with pytest.raises(PartialFailure, match="1 of 6 cases failed, left out: c2") as caught:
        prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert caught.value.exit_code == 4
    failed = json.loads((tmp_path / "store/failed.json").read_text())
    assert [(entry["case"], entry["code"]) for entry in failed] == [("c2", "I2")]
    store = Store.open(tmp_path / "store")
    assert store.train_order == ("c1", "c3")
    assert store.failed == ("c2",)
    bad.write_bytes(good)
    repaired = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert repaired.train_order == ("c1", "c2", "c3")
    assert not (tmp_path / "store/failed.json").exists()


def test_a_label_value_beyond_the_classes_fails_that_case(data, tmp_path):
    label = blob(SHAPE, 1)
    label[3, 3, 3] = 5
    write_nifti(data / "labelsTr/c2.nii.gz", label, np.diag([-1.0, -1.0, 1.5, 1.0]))
    with pytest.raises(PartialFailure, match="c2"):
        prepare(data, tmp_path / "store", recipe="la", workers=2)
    assert json.loads((tmp_path / "store/failed.json").read_text())[0]["code"] == "I31"


def test_when_every_case_fails_the_first_error_is_shown(data, tmp_path):
    for path in (*data.glob("imagesTr/*"), *data.glob("imagesUn/*")):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"SVX-I"):
        prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert not (tmp_path / "store/store.json").exists()


def test_a_file_that_changes_while_it_is_prepared_is_not_kept(data, tmp_path, monkeypatch):
    original = case_writer.check_case

    def meddle(scans, label, plan, *, case):
        if case == "c1":
            write_nifti(data / "imagesTr/c1_0000.nii.gz", np.ones(SHAPE, np.float32), np.eye(4))
        original(scans, label, plan, case=case)

    monkeypatch.setattr(case_writer, "check_case", meddle)
    with pytest.raises(PartialFailure, match="c1"):
        prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert json.loads((tmp_path / "store/failed.json").read_text())[0]["code"] == "D18"
    assert not (tmp_path / "store/cases/c1").exists()


def test_a_worker_that_dies_is_reported_with_a_way_out(data, tmp_path):
    script = tmp_path / "die.py"
    script.write_text(
        "import os, sys\nfrom semivox.data import prepare as room\nfrom semivox.errors import ResourceError\n"
        "def die(job):\n    os._exit(9)\n"
        "if __name__ == '__main__':\n    room.write_case = die\n    try:\n"
        "        room.prepare(sys.argv[1], sys.argv[2], workers=2)\n"
        "    except ResourceError as error:\n        print(error)\n")
    done = subprocess.run([sys.executable, script, data, tmp_path / "store"], capture_output=True, text=True,
                          timeout=60)
    assert "a worker process was killed" in done.stdout
    assert "--workers 1" in done.stdout


@pytest.mark.parametrize("place", ["data", "data/inside", "."])
def test_a_store_that_overlaps_the_data_is_refused(data, tmp_path, place):
    with pytest.raises(UsageError, match="SVX-C6") as caught:
        prepare(data, tmp_path / place, workers=0)
    assert caught.value.exit_code == 2
    assert not (data / "request.json").exists()


def test_a_folder_or_file_that_is_not_a_store_is_left_alone(data, tmp_path):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a prepared store"):
        prepare(data, target, workers=0)
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="is a file"):
        prepare(data, target / "thesis.txt", workers=0)


def test_a_finished_store_of_another_request_or_dataset_is_refused(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    before = times(store)
    with pytest.raises(UsageError, match="recipe 'la', now asked for is recipe 'auto'"):
        prepare(data, tmp_path / "store", workers=0)
    other = write_folder(tmp_path / "other")
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**description, "name": "another"}))
    with pytest.raises(UsageError, match="'tiny', not 'another'"):
        prepare(other, tmp_path / "store", recipe="la", workers=0)
    assert times(Store.open(store.path)) == before


def test_an_unfinished_store_may_be_continued_with_another_recipe(data, tmp_path):
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    (store.path / "store.json").unlink()
    again = prepare(data, tmp_path / "store", workers=0)
    assert again.plan.recipe == "auto"
    assert again.image("c1").std() == pytest.approx(1, abs=1e-3)
    assert again.verify() == []


def test_two_processes_do_not_prepare_one_store_at_once(data, tmp_path):
    script = ("import fcntl, os, sys, time\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
              "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)\n")
    prepare(data, tmp_path / "store", workers=0)
    holder = subprocess.Popen([sys.executable, "-c", script, tmp_path / "store/.lock"], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        start = time.monotonic()
        with pytest.raises(BusyError):
            prepare(data, tmp_path / "store", workers=0)
        assert time.monotonic() - start < 2
    finally:
        holder.kill()
        holder.wait()


def edited(store: Store, path: Path, **changes) -> Path:
    path.write_text(json.dumps({**plan_to_json(store.plan), **changes}))
    return path


def test_an_edited_plan_is_used(data, tmp_path):
    first = prepare(data, tmp_path / "store", workers=0)
    plan = edited(first, tmp_path / "plan.json", spacing_mm=[2.0, 2.0, 3.0], patch_size=[16, 16, 16],
                  class_names=["background", "organ"])
    second = prepare(data, tmp_path / "store2", plan_path=plan, workers=0)
    assert second.case("c1").shape == (12, 10, 9)
    assert second.plan.class_names == ("background", "organ")
    assert json.loads((second.path / "plan.json").read_text()) == json.loads(plan.read_text())


def test_an_edited_plan_reuses_arrays_that_it_does_not_change(data, tmp_path):
    store = prepare(data, tmp_path / "store", workers=0)
    before = times(store)
    (store.path / "store.json").unlink()
    again = prepare(data, tmp_path / "store", plan_path=edited(store, tmp_path / "p.json", overlap=0.25), workers=0)
    assert times(again) == before
    (store.path / "store.json").unlink()
    plan = edited(store, tmp_path / "p.json", spacing_mm=[1.0, 1.0, 3.0])
    changed = prepare(data, tmp_path / "store", plan_path=plan, workers=0)
    assert cases_rewritten(before, times(changed)) == {"c1", "c2", "c3", "u1", "u2"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"class_names": ["background", "a", "b"]}, "class_names has 3 entries, the dataset declares 2"),
    ({"overlaps": 0.5}, r"overlaps: unknown key.*did you mean 'overlap'"), ({"window": "hann"}, "window"),
    ({"patch_size": [16, 16]}, "patch_size")])
def test_a_plan_that_does_not_fit_names_the_key(data, tmp_path, changes, message):
    store = prepare(data, tmp_path / "store", workers=0)
    with pytest.raises(UsageError, match=message):
        prepare(data, tmp_path / "new", plan_path=edited(store, tmp_path / "plan.json", **changes), workers=0)
    assert not (tmp_path / "new").exists()


def test_plan_channels_must_match_the_data(data, tmp_path):
    store = prepare(write_folder(tmp_path / "two", channels=2), tmp_path / "store", workers=0)
    with pytest.raises(UsageError, match="channels has 2 entries, the dataset has 1"):
        prepare(data, tmp_path / "new", plan_path=edited(store, tmp_path / "plan.json"), workers=0)


def test_recipe_and_plan_together_are_refused(data, tmp_path):
    with pytest.raises(UsageError, match="given together with --plan"):
        prepare(data, tmp_path / "store", recipe="la", plan_path=tmp_path / "plan.json", workers=0)


def test_an_unknown_recipe_is_refused_before_anything_is_written(data, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'auto'"):
        prepare(data, tmp_path / "store", recipe="autoo", workers=0)
    assert not (tmp_path / "store").exists()


def test_errors_of_the_folder_stop_before_anything_is_written(data, tmp_path):
    shutil.copy(data / "labelsTr/c1.nii.gz", data / "labelsTr/ghost.nii.gz")
    with pytest.raises(InputError, match="SVX-D4"):
        prepare(data, tmp_path / "store", workers=0)
    assert not (tmp_path / "store").exists()


def test_too_little_disk_is_said_before_the_work_starts(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ResourceError, match="SVX-C7"):
        prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert not (tmp_path / "store/cases").exists()


def test_preparing_does_not_import_torch(data, tmp_path):
    code = ("import sys\nfrom semivox.data.prepare import prepare\nprepare(sys.argv[1], sys.argv[2], workers=0)\n"
            "print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, data, tmp_path / "store"], capture_output=True, text=True,
                          timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_real_scans_keep_their_voxels(tmp_path):
    folder = os.environ.get("SEMIVOX_DATA")
    if not folder or not (Path(folder) / "la_half").is_dir():
        pytest.skip("set SEMIVOX_DATA to the folder that holds la_half")
    data = Path(folder) / "la_half"
    store = prepare(data, tmp_path / "store", recipe="la_half", workers=2)
    assert (len(store.train_order), len(store.cases)) == (80, 100)
    assert choose_split(store, labeled=4).labeled == ("la_0001", "la_0002", "la_0003", "la_0004")
    source = nib.load(data / "imagesTr/la_0007.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(store.image("la_0007")[0], source)


def write_splits(root: Path, **lists) -> None:
    (root / "splits.json").write_text(json.dumps(lists))


def test_lists_of_the_dataset_are_kept_and_decide_the_split(data, tmp_path):
    write_splits(data, train=["c3", "c1"], val=["c2"], labelled={"1": ["c1"]})
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert (store.train_order, store.validation_order, store.labeled_subsets) == (("c3", "c1"), ("c2",), {1: ("c1",)})
    kept = json.loads((store.path / "splits.json").read_text())
    assert (kept["train"], kept["val"], kept["labeled"]) == (["c3", "c1"], ["c2"], {"1": ["c1"]})
    split = choose_split(store, labeled=1, validation=1)
    assert (split.labeled, split.validation) == (("c1",), ("c2",))
    assert set(split.unlabeled) == {"c2", "c3", "u1", "u2"}


def test_without_a_train_list_the_validation_cases_are_not_in_the_order(data, tmp_path):
    write_splits(data, val=["c1"])
    store = prepare(data, tmp_path / "store", recipe="la", workers=0)
    assert (store.train_order, store.validation_order) == (("c2", "c3"), ("c1",))


def test_the_digest_changes_with_lists_that_change_a_split_and_with_no_others(data, tmp_path):
    store = tmp_path / "store"

    def digest(**lists) -> str:
        write_splits(data, train=["c1", "c2", "c3"], **lists)
        return prepare(data, store, recipe="la", workers=0).digest

    plain = digest()
    assert digest(labeled={"1": ["c1"], "2": ["c1", "c2"]}) == plain
    assert Store.open(store).labeled_subsets == {1: ("c1",), 2: ("c1", "c2")}
    assert digest(labeled={"1": ["c2"]}) != plain
    assert digest() == plain


def write_stacked(root: Path, channels: int = 3) -> Path:
    """As Decathlon's files are: the channels of a case along the fourth axis of one file."""
    write_folder(root, channels=channels)
    for first in sorted(root.glob("images*/*_0000.nii.gz")):
        name = first.name.removesuffix("_0000.nii.gz")
        parts = [first.with_name(f"{name}_{index:04d}.nii.gz") for index in range(channels)]
        scans = [nib.load(part) for part in parts]
        volume = np.stack([scan.get_fdata(dtype=np.float32) for scan in scans], axis=-1)
        affine = scans[0].affine
        for part in parts:
            part.unlink()
        nib.save(nib.Nifti1Image(volume, affine), first.with_name(f"{name}.nii.gz"))
    (root / "dataset.json").write_text(json.dumps({
        "name": "tiny", "modality": {str(index): f"T{index + 1}" for index in range(channels)},
        "labels": {"0": "background", "1": "part1"}}))
    return root


def test_channels_along_a_fourth_axis_give_the_store_that_separate_files_give(tmp_path):
    apart = prepare(write_folder(tmp_path / "apart", channels=3), tmp_path / "one", workers=0)
    stacked = prepare(write_stacked(tmp_path / "stacked"), tmp_path / "two", workers=0)
    assert [channel.name for channel in stacked.plan.channels] == ["T1", "T2", "T3"]
    assert plan_to_json(stacked.plan) == plan_to_json(apart.plan)
    for name in ("c1", "u1", "u2"):
        assert np.array_equal(stacked.image(name), apart.image(name))
    assert stacked.case("t1").images == apart.case("t1").images
    for file in stacked.case("t1").images:
        one, two = nib.load(apart.path / file), nib.load(stacked.path / file)
        assert np.array_equal(one.get_fdata(), two.get_fdata())
        assert np.allclose(one.affine, two.affine)
    assert stacked.verify() == []


def test_a_case_with_other_channels_along_the_fourth_axis_is_left_out_and_named(tmp_path):
    data = write_stacked(tmp_path / "data")
    scan = nib.load(data / "imagesTr/c2.nii.gz")
    nib.save(nib.Nifti1Image(scan.get_fdata(dtype=np.float32)[..., :2], scan.affine), data / "imagesTr/c2.nii.gz")
    with pytest.raises(PartialFailure, match="c2"):
        prepare(data, tmp_path / "store", workers=0)
    (failure,) = json.loads((tmp_path / "store/failed.json").read_text())
    assert (failure["code"], failure["problem"]) == (
        "D5", "the file holds 2 channels along its fourth axis, the dataset has 3")
