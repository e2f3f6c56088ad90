"""Batches: the same for any number of workers and any start, and blind to hidden labels."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semivox.data.augment import Augmentation
from semivox.data.loading import Order, batches, build_loader
from semivox.data.prepare import prepare
from semivox.data.splits import Split, choose_split
from semivox.data.store import Store
from semivox.errors import InputError, ResourceError, UsageError
from semivox.types import Batch

HOW = Augmentation((16, 16, 16))
ORDER = Order(seed=5, labeled_per_batch=2, unlabeled_per_batch=2, numbers=range(6))


def load(store: Store, split: Split, *, how: Augmentation = HOW, workers: int = 0, **order: Any) -> list[Batch]:
    loader = build_loader(store, split, ORDER._replace(**order), how=how, workers=workers)
    return [batch for batch, _ in batches(loader)]


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.fixture
def split(toy_store: Store) -> Split:
    return choose_split(toy_store, labeled=2)


@pytest.fixture
def store_copy(toy_store: Store, tmp_path: Path) -> Store:
    """A store whose files a test may remove."""
    shutil.copytree(toy_store.path, tmp_path / "store")
    return Store.open(tmp_path / "store")


def test_batches_have_the_promised_shapes_and_types(make_store: Callable[..., Store]) -> None:
    store = make_store(classes=4, channels=2)
    for batch in load(store, choose_split(store, labeled=3), unlabeled_per_batch=3,
                      how=Augmentation((32, 16, 16))):
        assert isinstance(batch, Batch)
        assert batch.image.shape == (5, 2, 32, 16, 16)
        assert batch.label.shape == (2, 32, 16, 16)
        assert (batch.image.dtype, batch.label.dtype, batch.case.dtype) == (torch.float32, torch.int64, torch.int64)
        assert set(batch.label.unique().tolist()) <= {0, 1, 2, 3}
        assert all(case < 3 for case in batch.case[:2].tolist())
        assert all(3 <= case < 8 for case in batch.case[2:].tolist())
        assert batch.image.is_contiguous()


def test_patches_come_from_the_case_they_name_and_labels_fit_them(toy_store: Store, split: Split) -> None:
    for batch in load(toy_store, split, how=HOW._replace(kind="crop")):
        for image, label, case in zip(batch.labeled_image, batch.label, batch.case[:2].tolist(), strict=True):
            scan = toy_store.image(split.labeled[case])
            found = np.argwhere(scan[0, :21, :21, :13] == image[0, 0, 0, 0].item())
            boxes = [tuple(slice(at, at + 16) for at in start) for start in found]
            matches = [box for box in boxes if np.array_equal(scan[0][box], image[0])]
            assert matches
            assert np.array_equal(toy_store.label(split.labeled[case])[matches[0]], label)


@pytest.mark.parametrize("kind", ["weak", "crop", "strong"])
def test_two_workers_give_the_batches_that_none_gives(toy_store: Store, split: Split, kind: str) -> None:
    how = HOW._replace(kind=kind, foreground_fraction=0.5)
    assert_equal(load(toy_store, split, how=how), load(toy_store, split, how=how, workers=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_later_gives_the_batches_that_skipping_gives(toy_store: Store, split: Split, workers: int) -> None:
    whole = load(toy_store, split, numbers=range(7))
    assert_equal(whole[4:], load(toy_store, split, numbers=range(4, 7), workers=workers))


def test_ranks_get_different_batches(toy_store: Store, split: Split) -> None:
    first, second = (load(toy_store, split, rank=rank, world_size=2, numbers=range(1))[0] for rank in range(2))
    assert not torch.equal(first.image, second.image)


def test_the_seed_of_the_run_decides(toy_store: Store, split: Split) -> None:
    assert not torch.equal(load(toy_store, split)[0].image, load(toy_store, split, seed=6)[0].image)


@pytest.mark.parametrize("workers", [0, 1])
def test_random_generators_of_the_process_are_left_alone(toy_store: Store, split: Split, workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    load(toy_store, split, workers=workers)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_no_unlabeled_samples_are_fine(toy_store: Store) -> None:
    split = choose_split(toy_store, labeled=None)
    batch = load(toy_store, split._replace(unlabeled=()), unlabeled_per_batch=0)[0]
    assert batch.image.shape[0] == batch.label.shape[0] == 2


def test_unlabeled_samples_without_unlabeled_cases_are_refused_before_any_work(toy_store: Store, split: Split) -> None:
    with pytest.raises(UsageError, match="supervised"):
        build_loader(toy_store, split._replace(unlabeled=()), ORDER, how=HOW, workers=0)


def test_an_unknown_augmentation_is_refused(toy_store: Store, split: Split) -> None:
    with pytest.raises(UsageError, match="strong"):
        build_loader(toy_store, split, ORDER, how=HOW._replace(kind="stong"), workers=0)  # type: ignore[arg-type]


def test_slices_of_2d_training_have_no_third_axis(toy_store: Store, split: Split) -> None:
    batch = load(toy_store, split, how=Augmentation((32, 16, 1), dimensions=2))[0]
    assert batch.image.shape == (4, 1, 32, 16)
    assert batch.label.shape == (2, 32, 16)


def test_scans_smaller_than_the_patch_are_padded(toy_store: Store, split: Split) -> None:
    batch = load(toy_store, split, how=Augmentation((48, 48, 48)))[0]
    assert batch.image.shape == (4, 1, 48, 48, 48)
    assert (batch.image == 0).float().mean() > 0.3


def test_foreground_fraction_shows_more_foreground_in_labeled_samples_only(toy_store: Store, split: Split) -> None:
    runs = [load(toy_store, split, numbers=range(40), how=HOW._replace(foreground_fraction=by)) for by in (0.0, 1.0)]
    shares = [torch.stack([batch.label.float().mean() for batch in run]) for run in runs]
    assert shares[1].mean() > 1.5 * shares[0].mean()
    assert (shares[1] > 0).all()


def test_foreground_fraction_does_not_change_unlabeled_samples(toy_store: Store, split: Split) -> None:
    plain, oversampled = load(toy_store, split), load(toy_store, split, how=HOW._replace(foreground_fraction=1.0))
    for one, other in zip(plain, oversampled, strict=True):
        assert torch.equal(one.unlabeled_image, other.unlabeled_image)


@pytest.mark.parametrize("workers", [0, 2])
def test_deleting_hidden_labels_changes_nothing(
    toy_store: Store, store_copy: Store, split: Split, workers: int
) -> None:
    for name in {*split.unlabeled, *split.test}:
        shutil.rmtree(store_copy.path / "labels" / name, ignore_errors=True)
    assert len(list((store_copy.path / "labels").iterdir())) == 2
    how = HOW._replace(foreground_fraction=0.5)
    whole, bare = (load(store, split, how=how, workers=workers) for store in (toy_store, store_copy))
    assert_equal(whole, bare)


def test_no_file_of_a_hidden_label_is_opened(
    toy_store: Store, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    plain_open = builtins.open

    def spy(file: Any, *rest: Any, **options: Any) -> Any:
        opened.append(os.fspath(file) if not isinstance(file, int) else "")
        return plain_open(file, *rest, **options)

    monkeypatch.setattr(builtins, "open", spy)
    load(toy_store, split, numbers=range(20), how=HOW._replace(foreground_fraction=0.5))
    seen = {Path(file).parent.name for file in opened if f"{os.sep}labels{os.sep}" in file}
    assert seen == set(split.labeled)
    assert {Path(file).parent.name for file in opened} > set(split.unlabeled)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_arrives_as_an_error_that_names_it(store_copy: Store, split: Split, workers: int) -> None:
    image = store_copy.path / "cases" / split.labeled[0] / "image.npy"
    image.unlink()
    with pytest.raises(InputError, match=split.labeled[0]) as caught:
        load(store_copy, split, workers=workers)
    assert "Traceback" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_dataset_of_a_loader_can_be_sent_to_a_spawned_worker(toy_store: Store, split: Split) -> None:
    loader = build_loader(toy_store, split, ORDER, how=HOW, workers=0)
    first = loader.dataset[0]
    copy = pickle.loads(pickle.dumps(loader.dataset))
    assert_equal([first], [copy[0]])


@pytest.fixture
def with_worker(toy_store: Store, split: Split) -> tuple[Iterator[tuple[Batch, float]], int]:
    """A stream of 30 batches that one worker reads, and the worker's process id."""
    before = {process.pid for process in multiprocessing.active_children()}
    stream = batches(build_loader(toy_store, split, ORDER._replace(numbers=range(30)), how=HOW, workers=1))
    next(stream)
    (worker,) = {process.pid for process in multiprocessing.active_children()} - before
    assert worker is not None
    return stream, worker


def test_a_killed_worker_is_told_in_one_line(with_worker: tuple[Iterator[Any], int]) -> None:
    stream, worker = with_worker
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(ResourceError, match="was killed by SIGKILL") as caught:
        list(stream)
    assert caught.value.exit_code == 5
    assert str(worker) in caught.value.problem
    assert "memory" in caught.value.fix
    assert "workers" in caught.value.fix


def test_a_killed_worker_does_not_raise_inside_other_code(with_worker: tuple[Iterator[Any], int]) -> None:
    stream, worker = with_worker
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.3)  # a signal handler that raises would do it here
    with pytest.raises(ResourceError):
        list(stream)


def test_workers_ignore_ctrl_c(with_worker: tuple[Iterator[Any], int]) -> None:
    stream, worker = with_worker
    os.kill(worker, signal.SIGINT)
    assert len(list(stream)) == 29


def test_the_wait_for_a_slow_reader_is_measured(
    toy_store: Store, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Store.image

    def slow(store: Store, name: str) -> np.ndarray:
        time.sleep(0.05)
        return read(store, name)

    monkeypatch.setattr(Store, "image", slow)
    loader = build_loader(toy_store, split, ORDER._replace(numbers=range(2)), how=HOW, workers=0)
    waits = [wait for _, wait in batches(loader)]
    assert 0.15 < waits[0] < 2
    assert waits[1] >= 0


@pytest.mark.parametrize("end", ["exhausted", "closed", "error"])
def test_workers_leave_with_the_stream(with_worker: tuple[Iterator[Any], int], end: str) -> None:
    stream, worker = with_worker
    if end == "error":
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ResourceError):
            list(stream)
    elif end == "closed":
        stream.close()  # type: ignore[attr-defined]
    else:
        assert len(list(stream)) == 29
    assert worker not in {process.pid for process in multiprocessing.active_children()}


def test_labeled_patches_of_real_scans_hold_the_voxels_of_their_scans(shared_data: Path, tmp_path: Path) -> None:
    root, names = tmp_path / "data", ("la_0001", "la_0002", "la_0003")
    for folder, name in product(("imagesTr", "labelsTr"), names):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (source,) = (shared_data / "la_half" / folder).glob(f"{name}*.nii.gz")
        shutil.copy(source, root / folder)
    store = prepare(root, tmp_path / "store", recipe="la_half", workers=0)
    split = choose_split(store, labeled=2)
    x, y, z = store.plan.patch_size
    batch = load(store, split, how=Augmentation((x, y, z), foreground_fraction=1.0), numbers=range(1))[0]
    for image, label, case in zip(batch.labeled_image, batch.label, batch.case[:2].tolist(), strict=True):
        scan, reference = store.image(split.labeled[case])[0], store.label(split.labeled[case])
        inside = image[0][label == 1].numpy()
        assert inside.size > 100
        assert np.isin(inside, scan[reference == 1]).all()


@pytest.fixture
def scaled_beforehand(make_store: Callable[..., Store], tmp_path: Path) -> tuple[Store, Store]:
    """A store of two channels, and its copy in which every scan was scaled to 0..1 by hand."""
    store = make_store(channels=2)
    shutil.copytree(store.path, tmp_path / "scaled")
    for path in (tmp_path / "scaled" / "cases").glob("*/image.npy"):
        scan = np.load(path)
        lows, highs = scan.min(axis=(1, 2, 3), keepdims=True), scan.max(axis=(1, 2, 3), keepdims=True)
        np.save(path, (scan - lows) / (highs - lows))
    return store, Store.open(tmp_path / "scaled")


@pytest.mark.parametrize("how", [
    HOW, HOW._replace(kind="crop"), HOW._replace(kind="strong"), Augmentation((48, 48, 48)),
    Augmentation((48, 16, 1), dimensions=2),
], ids=["weak", "crop", "strong", "padded", "slices"])
def test_minmax_patches_are_those_of_scans_that_were_scaled_as_a_whole(
    scaled_beforehand: tuple[Store, Store], how: Augmentation
) -> None:
    store, scaled = scaled_beforehand
    found = load(store, choose_split(store, labeled=2), how=how._replace(intensity="minmax"), workers=1)
    expected = load(scaled, choose_split(scaled, labeled=2), how=how)
    for one, other in zip(found, expected, strict=True):
        # the scaled copy divides by a float32 difference, the loader by one taken in float64
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=1e-5 if how.kind == "strong" else 2e-7)
        assert torch.equal(one.image == 0, other.image == 0) or how.kind == "strong"
        assert torch.equal(one.label, other.label)


def test_minmax_reads_the_range_of_a_scan_once(
    toy_store: Store, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semivox.data import loading

    measured = []
    ranges = loading.channel_ranges
    monkeypatch.setattr(loading, "channel_ranges", lambda scan: measured.append(scan) or ranges(scan))
    seen = load(toy_store, split, how=HOW._replace(intensity="minmax"), numbers=range(20))
    cases = {case for batch in seen for case in batch.case.tolist()}
    assert len(measured) == len(cases) == 8
    load(toy_store, split)
    assert len(measured) == 8, "stored intensities need no range"
