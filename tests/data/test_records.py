from __future__ import annotations

import numpy as np
import pytest

from semivox.data.records import file_record, save_array


@pytest.mark.parametrize("shape", [(1, 37, 29, 11), (2, 70, 90, 88), (5, 4), (1, 1, 1, 9), (0, 4), (1, 300, 300, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("turned", [np.asarray, np.asfortranarray, lambda array: array[..., ::-1]])
def test_saved_bytes_and_record_are_those_of_numpy(tmp_path, shape, order, turned):
    array = turned((np.arange(np.prod(shape)) % 251).reshape(shape).astype(np.float32))
    np.save(tmp_path / "numpy.npy", np.asarray(array, order=order))
    record = save_array(tmp_path / "ours.npy", array, order=order)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    assert record == file_record(tmp_path / "ours.npy")
