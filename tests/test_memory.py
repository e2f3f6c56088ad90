"""Freed memory stays with the process, so that the next large array does not fault its pages in again."""

import subprocess
import sys

import pytest

from semivox.memory import keep_freed_memory, peak_memory_mb

FAULTS = """
import resource, sys
import numpy as np
from semivox.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(64 << 20, np.uint8)  # 64 MiB, 16384 pages
before = faults()
for _ in range(5):
    np.ones(64 << 20, np.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_large_arrays_reuse_freed_memory():
    counts = {}
    for way in ("keep", "default"):
        command = [sys.executable, "-c", FAULTS, way]
        counts[way] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert counts["keep"] < 100 < counts["default"]


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False


def test_peak_is_the_resident_sets_in_mb():
    before = peak_memory_mb()
    held = bytearray(128 << 20)
    assert peak_memory_mb() >= before
    assert peak_memory_mb() > 128
    del held
