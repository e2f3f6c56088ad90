from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from semivox.errors import ResourceError
from semivox.inference.scratch import scratch_array


def test_small_arrays_stay_in_memory() -> None:
    array = scratch_array((2, 3), np.float32, memory_limit_bytes=24)
    assert type(array) is np.ndarray
    assert array.shape == (2, 3)
    assert not array.any()


def test_large_arrays_lie_in_a_file_that_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = scratch_array((2, 3), np.float32, memory_limit_bytes=23)
    assert isinstance(array, np.memmap)
    assert not array.any()
    array[1] = 7
    assert array.sum() == 21
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**9))
    with pytest.raises(ResourceError, match=r"needs 4\.0 GB here, 1\.0 GB are free") as caught:
        scratch_array((1000, 1000, 1000), np.float32)
    assert caught.value.exit_code == 5
