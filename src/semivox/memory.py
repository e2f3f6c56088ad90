"""Memory of this process: how large arrays are allocated, how much is left, how much was used at most."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
GROWTH_BYTES = 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Keep the memory of freed arrays in this process, for the next array, instead of returning it to the system.

    A training step frees and allocates gigabytes. By default glibc maps each large array anew, and the system clears
    every page of it when it is first touched, which can take longer than the arithmetic on it (contest
    ``train_vnet_bf16`` of ``benchmarks/speed.py``). The price: the process keeps its peak until it ends, and the peak
    is higher because free areas do not always fit.

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
    try:  # getrusage would start with the peak of the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes / (2**20 if sys.platform == "darwin" else 1024)


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Main memory that this process can still take without swapping, in bytes.

    The system's free and reclaimable memory, or what the control group of a container or batch job leaves of its
    limit, whichever is less.

    Args:
        root: where ``proc`` and ``sys`` are.

    Returns:
        None where the system does not say (no ``/proc/meminfo``).
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([free, *_left_by_groups(root)])


def _left_by_groups(root: Path) -> Iterator[int]:
    """What each control group that this process is in leaves of its limit; reclaimable file pages count as free."""
    try:
        entries = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for entry in entries:
        number, controllers, path = entry.split(":", 2)
        if number == "0":
            base, limit, usage, files = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, usage, files = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                         "total_inactive_file")
        else:
            continue
        top = root / base
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # "max" is no number: there is no limit
                used = int((group / usage).read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield int((group / limit).read_text()) - used + int(stat.get(files, 0))
            if group == top:
                break


class _Mallinfo2(ctypes.Structure):
    """glibc's malloc.h; ``fordblks`` is what is free."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def kept_memory_bytes() -> int:
    """Memory that this process has freed and kept for the next array; 0 where the allocator does not say."""
    if sys.platform != "linux":
        return 0
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return 0
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().fordblks)
