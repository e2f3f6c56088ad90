"""From a store and a split to batches: worker processes read patches ahead, each batch a function of its number.

A batch depends on (seed, step, rank) alone, so neither the number of workers nor the step that a run starts from
changes what is in it. Labels are read only for the labeled cases of the split.
"""

from __future__ import annotations

import signal
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from semivox.data.augment import Augmentation, View, cut, draw_view, require_kind
from semivox.data.intensity import strong_intensity
from semivox.data.sampling import Draw, Streams, draws, require_cases
from semivox.data.store import LabelAccess
from semivox.data.worker_deaths import explain_deaths
from semivox.errors import SemivoxError
from semivox.imaging.normalize import channel_ranges, scale_to_unit
from semivox.seeding import fold_in, numpy_generator
from semivox.types import Batch

if TYPE_CHECKING:
    from semivox.data.splits import Split
    from semivox.data.store import Store

BATCHES_AHEAD = 3
OPEN_CASES = 256
FLAT = 2


class _Failure(NamedTuple):
    """An error on its way from a worker to the main process, where it is raised without the worker's traceback."""

    error: SemivoxError


class PatchBatches(Dataset[Any]):
    """The batches of a run, indexed by step: ``dataset[step]`` is the ``Batch`` of that step."""

    def __init__(self, store: Store, split: Split, streams: Streams, how: Augmentation) -> None:
        self.store, self.streams, self.how = store, streams, how
        self._labels = LabelAccess(store, split.labeled)
        self.names = (*split.labeled, *split.unlabeled)
        self._open: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._ranges: dict[str, np.ndarray] = {}

    def __getitem__(self, step: int) -> Batch | _Failure:
        """Read the batch of one step; an error that a user can act on is returned, to be raised by ``batches``."""
        try:
            return self._read(draws(step, self.streams))
        except SemivoxError as error:
            return _Failure(error)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: each worker opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def _read(self, samples: list[Draw]) -> Batch:
        patch = self.how.patch
        channels = self.store.plan.channels
        labeled_count = sum(sample.labeled for sample in samples)
        image = torch.empty((len(samples), len(channels), *patch), dtype=torch.float32)
        label = torch.empty((labeled_count, *patch), dtype=torch.int64)
        for slot, sample in enumerate(samples):
            self._fill(sample, image[slot].numpy(), label[slot].numpy() if sample.labeled else None)
        case = torch.tensor([sample.case for sample in samples], dtype=torch.int64)
        if self.how.dimensions == FLAT:
            image, label = image.squeeze(-1), label.squeeze(-1)
        return Batch(image, label, case)

    def _fill(self, sample: Draw, image: np.ndarray, label: np.ndarray | None) -> None:
        """Cut one sample straight into its rows of the batch."""
        name = self.names[sample.case]
        rng = numpy_generator(sample.seed, "augment")
        scan = self._array("image", name)
        foreground = None
        if label is not None and self.how.foreground_fraction > 0:
            foreground = self._array("foreground", name)
        view = draw_view(scan.shape[1:], rng, self.how, foreground=foreground)
        self._cut_image(name, view, image)
        if self.how.kind == "strong":
            image[...] = strong_intensity(image, rng)
        if label is not None:
            cut(self._array("label", name), view, self.how.patch, out=label)

    def _cut_image(self, name: str, view: View, image: np.ndarray) -> None:
        """Cut a patch of the scan as the network takes it; the padding is zero after any scaling."""
        scan = self._array("image", name)
        if self.how.intensity == "stored":
            cut(scan, view, self.how.patch, out=image)
            return
        if name not in self._ranges:
            self._ranges[name] = channel_ranges(scan)
        ranges = self._ranges[name]
        cut(scan, view, self.how.patch, out=image, fill=ranges[:, :1, None, None])
        scale_to_unit(image, ranges, out=image)

    def _array(self, part: str, name: str) -> np.ndarray:
        """The memory-mapped array of a case, the latest ``OPEN_CASES`` of them kept open."""
        key = (part, name)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        source = self.store if part == "image" else self._labels
        self._open[key] = getattr(source, part)(name).view(np.ndarray)
        if len(self._open) > OPEN_CASES:
            self._open.popitem(last=False)
        return self._open[key]


class Order(NamedTuple):
    """Which batches of a run a process reads."""

    seed: int
    """Of the run."""
    labeled_per_batch: int
    """L, labeled samples per process and batch."""
    unlabeled_per_batch: int
    """U, unlabeled samples per process and batch; may be 0."""
    numbers: range
    """Numbers of the batches, from 0: a resumed run continues the streams where it stopped."""
    rank: int = 0
    """Number of this process."""
    world_size: int = 1
    """Number of processes."""


def build_loader(store: Store, split: Split, order: Order, *, how: Augmentation, workers: int) -> DataLoader[Any]:
    """Build the loader of ``Batch`` records number ``order.numbers``; see ``batches``.

    Args:
        store: prepared cases.
        split: which of them are labeled and unlabeled. Cases count in this order in ``Batch.case``.
        order: which batches, and what they are made of.
        how: patch and augmentation. With ``how.dimensions`` 2 patches are slices: images then are (B, C, X, Y).
        workers: worker processes that read ahead; 0 reads in this process. The batches are the same.

    Raises:
        UsageError: a stream that is asked for samples has no cases, or an unknown augmentation.
        InputError: T19, a label of the labeled cases is not as it was written.
    """
    require_kind(how.kind)
    streams = Streams(order.seed, order.rank, order.world_size, len(split.labeled), len(split.unlabeled),
                      order.labeled_per_batch, order.unlabeled_per_batch)
    require_cases(streams)
    return DataLoader(
        PatchBatches(store, split, streams, how),
        batch_size=None,
        sampler=order.numbers,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        # With a generator of its own the loader leaves torch's default generator alone.
        generator=torch.Generator().manual_seed(fold_in(order.seed, "loader", order.rank)),
        prefetch_factor=BATCHES_AHEAD if workers else None,
    )


def batches(loader: DataLoader[Any]) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds that were spent waiting for it.

    Raises:
        SemivoxError: what a worker met while reading.
        ResourceError: a worker process died.
    """
    iterator = _start(loader)
    try:
        while True:
            started = time.perf_counter()
            item = _next(iterator)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item, time.perf_counter() - started
    finally:
        # An error keeps this frame alive; the workers are to leave now.
        del iterator


def _next(iterator: Iterator[Any]) -> Batch | Exception | None:
    """The next batch, None at the end, or what went wrong: without the loader's own error, which holds on to it."""
    try:
        item = next(iterator)
    except StopIteration:
        return None
    except (RuntimeError, OSError, EOFError) as error:
        # The loader's own check, a connection that a dead worker reset, or a queue that ends.
        return explain_deaths(getattr(iterator, "_workers", ())) or error
    return item.error if isinstance(item, _Failure) else item


def _start(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, without the handler that would raise their death inside whatever runs at that moment.

    The iterator looks after its workers whenever it waits, so their death is still noticed, where it can be told.
    """
    previous = signal.getsignal(signal.SIGCHLD)
    iterator = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not previous:
        signal.signal(signal.SIGCHLD, previous or signal.SIG_DFL)
    return iterator


def _as_it_is(item: object) -> object:
    return item


def _start_worker(worker: int) -> None:
    """One thread a worker; requests to stop are for the main process, which stops its workers itself."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Not SIGTERM: it is how multiprocessing ends workers that are left over.
