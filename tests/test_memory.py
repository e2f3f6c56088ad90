"""Freed memory stays with the process, so that the next large array does not fault its pages in again."""

import subprocess
import sys

import pytest

from semivox.memory import available_memory_bytes, keep_freed_memory, peak_memory_mb

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


def system(root, *, meminfo="MemTotal: 9000 kB\nMemAvailable: 4000 kB\n", cgroup="", groups=None):
    (root / "proc/self").mkdir(parents=True)
    if meminfo:
        (root / "proc/meminfo").write_text(meminfo)
    (root / "proc/self/cgroup").write_text(cgroup)
    for folder, files in (groups or {}).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / folder / name).write_text(text)
    return root


def test_available_memory_is_what_the_system_says(tmp_path):
    assert available_memory_bytes(system(tmp_path)) == 4000 * 1024


def test_an_unknown_system_is_not_guessed(tmp_path):
    assert available_memory_bytes(system(tmp_path, meminfo="")) is None


def test_the_limit_of_a_containers_group_counts(tmp_path):
    inner = {"memory.max": "max\n", "memory.current": "900000\n", "memory.stat": "anon 1\ninactive_file 5\n"}
    outer = {"memory.max": "2000000\n", "memory.current": "1500000\n", "memory.stat": "inactive_file 100000\n"}
    root = system(tmp_path, cgroup="0::/job/step\n",
                  groups={"sys/fs/cgroup/job": outer, "sys/fs/cgroup/job/step": inner})
    assert available_memory_bytes(root) == 2_000_000 - 1_500_000 + 100_000


def test_the_first_version_of_control_groups_counts_too(tmp_path):
    files = {"memory.limit_in_bytes": "1000000\n", "memory.usage_in_bytes": "400000\n",
             "memory.stat": "cache 7\ntotal_inactive_file 50000\n"}
    root = system(tmp_path, cgroup="5:cpu,cpuacct:/job\n4:memory:/job\n",
                  groups={"sys/fs/cgroup/memory/job": files})
    assert available_memory_bytes(root) == 650_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_has_some_memory_left():
    assert 1e8 < available_memory_bytes() < 1e14


KEPT = """
import numpy as np
from semivox.memory import keep_freed_memory, kept_memory_bytes
assert keep_freed_memory()
held = np.ones(512 << 20, np.uint8)
print(kept_memory_bytes() >> 20)
del held
print(kept_memory_bytes() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_what_is_freed_and_kept_is_known():
    said = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True).stdout
    held, freed = map(int, said.split())
    assert 512 <= freed - held <= 513


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_the_process_that_started_this_one_does_not_count():
    held = bytearray(400 << 20)
    code = "from semivox.memory import peak_memory_mb; print(peak_memory_mb())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(found) < 200 < peak_memory_mb()
    del held
