"""Memory of this process: how large arrays are allocated, and how much was used at most."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
GROWTH_BYTES = 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Keep the memory of freed arrays in this process, for the next array, instead of returning it to the system.

    A training step frees and allocates gigabytes. By default glibc maps each large array anew, and the system clears
    every page of it when it is first touched, which takes longer than the arithmetic on it: a step of the V-Net on
    two cores is about 1.7 times faster without (``benchmarks/speed.py``). The price: the process keeps its peak
    until it ends, and the peak is up to half as much higher because free areas do not always fit.

    Returns:
        False where there is no glibc; nothing is changed then.
    """
    if sys.platform != "linux":
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - AttributeError where the library is another one
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, GROWTH_BYTES))
        return all(library.mallopt(name, value) == 1 for name, value in settings)
    except (OSError, AttributeError):
        return False


def peak_memory_mb() -> float:
    """Peak of the resident set of this process so far, in MB of 2^20 bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 1024)
