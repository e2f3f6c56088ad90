"""Time cubic resampling of one scan with ours and with SimpleITK: ``python benchmarks/resample.py``.

Both run on one thread and on all. The largest difference of the results and whether they depend on the number of
threads are printed as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from semivox.imaging.resample import resample_image


def scan(size: int) -> NDArray[np.float32]:
    """Noise with the smoothness of a scan, the same each time."""
    noise = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    for axis in range(3):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / np.float32(np.sqrt(3))
    return noise


def with_simpleitk(array: NDArray[np.float32], shape: tuple[int, ...], threads: int) -> NDArray[np.float32]:
    """Cubic B-splines on a grid of equal extent: the origin moves by half a voxel."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = [old / new for old, new in zip(array.shape, shape, strict=True)]
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetSize(shape)
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin([(step - 1) / 2 for step in spacing])
    resampler.SetInterpolator(SimpleITK.sitkBSpline)
    return np.asarray(SimpleITK.GetArrayFromImage(resampler.Execute(image))).T


def timed(work: Callable[[], NDArray[np.float32]], repeats: int) -> tuple[float, NDArray[np.float32]]:
    """Shortest time in seconds, and the result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=160, help="voxels of each axis")
    parser.add_argument("--factor", type=float, default=1.25, help="voxels of the result per voxel of the scan")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    array, shape = scan(options.size), (round(options.size * options.factor),) * 3
    ours_seconds, ours = timed(lambda: resample_image(array, shape), options.repeats)
    print(f"{'x'.join(map(str, array.shape))} -> {'x'.join(map(str, shape))}, best of {options.repeats}")
    print(f"ours                   {ours_seconds:6.2f} s")
    inner = (slice(8, -8),) * 3
    for threads in (1, SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()):
        seconds, theirs = timed(lambda count=threads: with_simpleitk(array, shape, count), options.repeats)
        difference = float(np.abs(ours - theirs)[inner].max())
        print(f"SimpleITK, {threads:3} threads {seconds:6.2f} s ({seconds / ours_seconds:.1f} times as long), "
              f"largest difference inside {difference:.1e}")


if __name__ == "__main__":
    main()
