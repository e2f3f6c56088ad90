"""Arrays for work in progress: in memory while they are small, else in a temporary file that leaves no trace."""

from __future__ import annotations

import math
import shutil
import tempfile

import numpy as np
from numpy.typing import DTypeLike

from semivox.errors import ResourceError

MEMORY_LIMIT_BYTES = 1 << 30


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike, *,
                  memory_limit_bytes: int = MEMORY_LIMIT_BYTES) -> np.ndarray:
    """Zeros of this shape. Above the limit they lie in an unlinked file of the temporary folder.

    The operating system can then write them out when memory is short; the file vanishes with the array, also when
    the process is killed.

    Raises:
        ResourceError: when the temporary folder has no room for the file.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if needed <= memory_limit_bytes:
        return np.zeros(shape, dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError("P5", folder, f"a scan needs {needed / 1e9:.1f} GB here, {free / 1e9:.1f} GB are free",
                            "set TMPDIR to a folder with more space")
    with tempfile.TemporaryFile(dir=folder) as stream:
        return np.memmap(stream, dtype=dtype, mode="w+", shape=shape)
