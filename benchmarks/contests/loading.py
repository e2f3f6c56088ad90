"""Batches of augmented patches: out of the prepared store, and as the public scripts read them; and who waits for them.

The other side of ``load_patches`` is the data pipeline of the released code (UA-MT's, which SSL4MIS, MCF and the
others took over): an HDF5 file for each case, image and mask compressed with gzip, read as a whole for every sample,
turned, flipped, padded and cropped in NumPy, then collated. It draws with our generator, so that both sides cut the
same patches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from race import Contest, Setup, Side, Work

from contests.scans import la_store
from contests.training import SAMPLES, patch_of
from semivox.data.augment import Augmentation, draw_view, padding
from semivox.data.loading import Order, PatchBatches, batches, build_loader
from semivox.data.sampling import Streams, draws
from semivox.data.splits import Split
from semivox.data.store import Store
from semivox.fsio import atomic_file
from semivox.seeding import numpy_generator

if TYPE_CHECKING:
    from semivox.types import Batch

CASES, SEED = 20, 3
"""Cases that are read in turn: more than a processor's cache holds."""
BATCHES = 5
STEPS, QUICK_STEPS = 20, 2
MAX_WAIT_SHARE = 0.03


class Patches(NamedTuple):
    """What both sides of ``load_patches`` return."""

    images: np.ndarray
    """(N, 1, X, Y, Z) float32."""
    labels: np.ndarray
    """(N, X, Y, Z) int64."""


def training_store(setup: Setup) -> tuple[Store, tuple[str, ...], Streams]:
    """The store, the cases that are read, and what the samples are drawn from: four labeled ones a batch."""
    store = Store.open(la_store(setup))
    names = store.train_order[:CASES]
    return store, names, Streams(SEED, 0, 1, len(names), 0, SAMPLES, 0)


def from_store(setup: Setup) -> Work:
    """What a worker of the loader does, without the process around it."""
    store, names, streams = training_store(setup)
    split = Split(labeled=names, unlabeled=(), validation=(), test=())
    dataset = PatchBatches(store, split, streams, Augmentation(patch_of(setup)))
    return _five(lambda step: Patches(*(part.numpy() for part in dataset[step][:2])))


def from_hdf5(setup: Setup) -> Work:
    """Whole volumes, one HDF5 file a case."""
    import torch

    store, names, streams = training_store(setup)
    files = [_hdf5_file(store, name) for name in names]

    def batch(step: int) -> Patches:
        samples = [_whole_volume_sample(files[draw.case], draw.seed, patch_of(setup)) for draw in draws(step, streams)]
        image, label = (torch.stack(part) for part in zip(*samples, strict=True))
        return Patches(image.numpy(), label.numpy())

    return _five(batch)


def _five(batch: Callable[[int], Patches]) -> Work:
    """A repeat: the next five batches. The last one is what is compared."""
    steps = iter(range(1_000_000))
    return lambda: [batch(next(steps)) for _ in range(BATCHES)][-1]


def _whole_volume_sample(path: Path, seed: int, patch: tuple[int, int, int]) -> tuple[Any, Any]:
    """Read, ``RandomRotFlip``, ``RandomCrop`` and ``ToTensor`` as the released code has them."""
    import h5py
    import torch

    with h5py.File(path, "r") as stream:
        image, label = stream["image"][:], stream["label"][:]
    view = draw_view(image.shape, numpy_generator(seed, "augment"), Augmentation(patch))
    image, label = np.rot90(image, view.turn.quarters), np.rot90(label, view.turn.quarters)
    image, label = (np.flip(part, axis=view.turn.flip_axis).copy() for part in (image, label))
    margins = padding(label.shape, patch)
    if any(margins):
        widths = [(margin, margin) for margin in margins]
        image, label = (np.pad(part, widths, mode="constant", constant_values=0) for part in (image, label))
    x, y, z = (slice(start + margin, start + margin + size)
               for start, margin, size in zip(view.start, margins, patch, strict=True))
    image, label = image[x, y, z], label[x, y, z]
    return (torch.from_numpy(image.reshape(1, *image.shape).astype(np.float32)),
            torch.from_numpy(label).long())


def _hdf5_file(store: Store, name: str) -> Path:
    """The case as UA-MT's ``la_heart_processing.py`` writes it; made once."""
    import h5py

    path = store.path.with_name(f"{store.path.name}_hdf5") / f"{name}.h5"
    if not path.is_file():
        with atomic_file(path) as temporary, h5py.File(temporary, "w") as stream:
            stream.create_dataset("image", data=store.image(name)[0], compression="gzip")
            stream.create_dataset("label", data=store.label(name), compression="gzip")
    return path


def same_voxels(ours: Patches, theirs: Patches) -> str:
    """Both sides cut the same patches, voxel by voxel."""
    np.testing.assert_array_equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert ours.images.dtype == theirs.images.dtype
    assert len(np.unique(ours.labels)) == 2, "the patches hold no structure"
    return f"all {ours.images.size + ours.labels.size:,} voxels of a batch equal (exact)"


class Steps(NamedTuple):
    """What both sides of ``data_wait`` return."""

    loss: float
    """Of the last step."""
    wait_share: float
    """Of the time of the steps, the first one left out: the workers start while it waits."""


def steps_with_loader(setup: Setup) -> Work:
    """Training steps whose batches one worker process reads ahead, as the engine asks for them."""
    store, names, _ = training_store(setup)
    half = len(names) // 2
    split = Split(labeled=names[:half], unlabeled=names[half:], validation=(), test=())
    order = Order(SEED, SAMPLES // 2, SAMPLES // 2, range(1_000_000))
    loader = build_loader(store, split, order, how=Augmentation(patch_of(setup)), workers=1)
    return _steps(setup, batches(loader))


def steps_from_memory(setup: Setup) -> Work:
    """The same training steps, the batches of the first repeat already in memory and no other process at work."""
    store, names, _ = training_store(setup)
    half = len(names) // 2
    split = Split(labeled=names[:half], unlabeled=names[half:], validation=(), test=())
    streams = Streams(SEED, 0, 1, half, len(names) - half, SAMPLES // 2, SAMPLES // 2)
    dataset = PatchBatches(store, split, streams, Augmentation(patch_of(setup)))
    held = [dataset[step] for step in range(_step_count(setup) + 1)]
    return _steps(setup, ((held[step % len(held)], 0.0) for step in range(1_000_000)))


def _step_count(setup: Setup) -> int:
    return QUICK_STEPS if setup.quick else STEPS


def _steps(setup: Setup, source: Iterator[tuple[Batch, float]]) -> Work:
    """A repeat: some training steps in bf16; the very first step is taken beforehand."""
    step = _training_step(setup)
    step(next(source)[0])

    def work() -> Steps:
        started, waited, loss = time.perf_counter(), 0.0, 0.0
        for _ in range(_step_count(setup)):
            batch, wait_s = next(source)
            waited += wait_s
            loss = step(batch)
        return Steps(loss, waited / (time.perf_counter() - started))

    return work


def _training_step(setup: Setup) -> Callable[[Batch], float]:
    """The V-Net's step on the labeled half of the loss and the whole batch of the network, as fast as training's."""
    import torch

    from semivox.losses.supervised import ce_dice
    from semivox.memory import keep_freed_memory
    from semivox.networks.vnet import VNet

    keep_freed_memory()
    torch.manual_seed(0)
    network = VNet(1, 2).to(setup.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step(batch: Batch) -> float:
        torch.manual_seed(1)
        image = batch.image.to(setup.device, memory_format=torch.channels_last_3d)
        with torch.autocast(setup.device, torch.bfloat16):
            logits = network(image).logits
        loss = ce_dice(logits[:len(batch.label)], batch.label.to(setup.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def no_waiting(ours: Steps, theirs: Steps) -> str:
    """The same batches gave the same loss, and the loader was never waited for longer than allowed."""
    assert abs(ours.loss - theirs.loss) <= 0.01 * abs(theirs.loss), f"losses {ours.loss:.4f} and {theirs.loss:.4f}"
    assert ours.wait_share < MAX_WAIT_SHARE, f"{ours.wait_share:.1%} of the time was spent waiting for data"
    return (f"waiting {ours.wait_share:.2%} of a step (below {MAX_WAIT_SHARE:.0%}); loss {ours.loss:.4f} and"
            f" {theirs.loss:.4f} (tolerance 1 %)")


CONTESTS = (
    Contest("load_patches", "four augmented patches, image and label", Side("Semivox", from_store),
            Side("whole-volume gzip HDF5, as released code", from_hdf5), same_voxels, target=5, repeats=7),
    Contest("data_wait", "bf16 step fed by one worker", Side("Semivox", steps_with_loader),
            Side("the batches already in memory", steps_from_memory), no_waiting, repeats=2,
            memory=False, quick=False),
)
