"""Which file format should hold prepared scans: blosc2 in chunks, or a plain .npy memory map?

Writes the same volume in each format, then reads random patches, the formats taking turns, with a warm and with a
cold page cache (``posix_fadvise(DONTNEED)`` on the file before each read). Prints one table of medians.

    python benchmarks/store_formats.py --shape 512 512 300 --patch 112 112 80 --patch 64 64 32 --repeats 20
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import blosc2
import numpy as np
from scipy.ndimage import gaussian_filter

Shape = tuple[int, int, int]


class Format(NamedTuple):
    """One way to store a volume."""

    name: str
    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path, tuple[slice, ...]], np.ndarray]


class Result(NamedTuple):
    """Medians of one format, in seconds and megabytes."""

    name: str
    write_s: float
    size_mb: float
    warm_ms: float
    cold_ms: float


def write_npy(path: Path, volume: np.ndarray) -> None:
    """A plain array file."""
    with open(path, "wb") as stream:
        np.lib.format.write_array(stream, volume)


def write_npy_slices(path: Path, volume: np.ndarray) -> None:
    """A plain array file whose last axis is the slowest: a slice along it is one run of bytes."""
    write_npy(path, np.asfortranarray(volume))


def read_npy(path: Path, window: tuple[slice, ...]) -> np.ndarray:
    """Open the memory map, copy the window out."""
    return np.array(np.load(path, mmap_mode="r")[window], order="C")


def blosc2_writer(codec: blosc2.Codec, level: int) -> Callable[[Path, np.ndarray], None]:
    """Chunks of 64 x 64 x 64 in blocks of 32 x 32 x 32 (128 kB: one block fits into the second-level cache)."""

    def write(path: Path, volume: np.ndarray) -> None:
        chunks = tuple(min(64, size) for size in volume.shape)
        blocks = tuple(min(32, size) for size in volume.shape)
        blosc2.asarray(volume, urlpath=str(path), mode="w", chunks=chunks, blocks=blocks,
                       cparams=blosc2.CParams(codec=codec, clevel=level, nthreads=1))

    return write


def read_blosc2(path: Path, window: tuple[slice, ...]) -> np.ndarray:
    """Open, decompress the chunks that the window touches."""
    return np.asarray(blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))[window])


FORMATS = (
    Format("npy memory map", write_npy, read_npy),
    Format("npy, last axis slow", write_npy_slices, read_npy),
    Format("blosc2 lz4 level 1", blosc2_writer(blosc2.Codec.LZ4, 1), read_blosc2),
    Format("blosc2 zstd level 5", blosc2_writer(blosc2.Codec.ZSTD, 5), read_blosc2),
)


def scan_like(shape: Shape, seed: int, *, quantized: bool) -> np.ndarray:
    """Smooth structure and noise as float32; ``quantized``: 12-bit levels, as a scan that was not resampled has."""
    generator = np.random.default_rng(seed)
    coarse = generator.standard_normal([max(1, size // 8) for size in shape]).astype(np.float32)
    volume = np.zeros(shape, np.float32)
    smooth = gaussian_filter(coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2), 4)
    volume[tuple(slice(size) for size in smooth.shape)] = smooth
    volume += 0.05 * generator.standard_normal(shape, dtype=np.float32)
    volume *= 500
    return (np.round(volume) if quantized else volume) / np.float32(321.5)


def random_window(generator: np.random.Generator, shape: Shape, patch: Shape) -> tuple[slice, ...]:
    """A window of the patch's size (cut to the volume), anywhere."""
    sizes = [min(a, b) for a, b in zip(shape, patch, strict=True)]
    starts = [int(generator.integers(0, a - b + 1)) for a, b in zip(shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


def drop_from_cache(path: Path) -> None:
    """Ask the kernel to forget the file's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def time_writes(folder: Path, volume: np.ndarray) -> dict[str, float]:
    """Median seconds of 3 writes per format, with the fsync that makes them durable."""
    seconds: dict[str, list[float]] = {fmt.name: [] for fmt in FORMATS}
    for _ in range(3):
        for fmt in FORMATS:
            path = folder / f"{fmt.name}.data"
            path.unlink(missing_ok=True)
            os.sync()
            seconds[fmt.name].append(timed(lambda fmt=fmt, path=path: (fmt.write(path, volume), drop_from_cache(path))))
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_reads(folder: Path, shape: Shape, patch: Shape, *, repeats: int, cold: bool) -> dict[str, float]:
    """Median milliseconds per patch; every format reads the same windows, one after the other."""
    generator = np.random.default_rng(1)
    milliseconds: dict[str, list[float]] = {fmt.name: [] for fmt in FORMATS}
    for fmt in FORMATS:
        (folder / f"{fmt.name}.data").read_bytes()
    for _ in range(repeats):
        window = random_window(generator, shape, patch)
        for fmt in FORMATS:
            path = folder / f"{fmt.name}.data"
            if cold:
                drop_from_cache(path)
            milliseconds[fmt.name].append(1000 * timed(lambda fmt=fmt, path=path, w=window: fmt.read(path, w)))
    return {name: statistics.median(values) for name, values in milliseconds.items()}


def compare(shape: Shape, patches: list[Shape], *, repeats: int, quantized: bool, folder: Path) -> None:
    """Measure and print one table."""
    volume = scan_like(shape, 0, quantized=quantized)
    write_s = time_writes(folder, volume)
    for fmt in FORMATS:
        if not np.array_equal(fmt.read(folder / f"{fmt.name}.data", (slice(None),) * 3), volume):
            raise SystemExit(f"{fmt.name} does not give back what was written")
    kind = "12-bit levels" if quantized else "resampled"
    print(f"\nvolume {'x'.join(map(str, shape))} float32, {kind}, {volume.nbytes / 1e6:.0f} MB; "
          f"medians of {repeats} patches")
    print(f"{'format':22s}{'write s':>9s}{'disk MB':>9s}" + "".join(
        f"{'x'.join(map(str, patch)) + ' ' + state:>20s}" for patch in patches for state in ("warm ms", "cold ms")))
    columns = [time_reads(folder, shape, patch, repeats=repeats, cold=cold)
               for patch in patches for cold in (False, True)]
    for fmt in FORMATS:
        size_mb = (folder / f"{fmt.name}.data").stat().st_size / 1e6
        print(f"{fmt.name:22s}{write_s[fmt.name]:9.2f}{size_mb:9.0f}"
              + "".join(f"{column[fmt.name]:20.2f}" for column in columns))


def main() -> None:
    """Read the options and print a table for each kind of content."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 300], help="voxels of the volume")
    parser.add_argument("--patch", type=int, nargs=3, action="append", help="may be repeated")
    parser.add_argument("--repeats", type=int, default=20, help="patches per format, patch size and cache state")
    parser.add_argument("--folder", type=Path, help="where the files are written (default: the temporary folder)")
    options = parser.parse_args()
    patches = [tuple(patch) for patch in options.patch or ([112, 112, 80], [64, 64, 32])]
    for quantized in (True, False):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(tuple(options.shape), patches, repeats=options.repeats, quantized=quantized, folder=Path(folder))


if __name__ == "__main__":
    main()
