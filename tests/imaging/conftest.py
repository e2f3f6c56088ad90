from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from semivox.errors import InputError
from semivox.imaging.files import write_image
from semivox.imaging.geometry import Geometry

SHAPE = (7, 9, 11)


def rotation(seed: int) -> np.ndarray:
    """A random right-handed rotation matrix."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Durability is tested with ``fsio``; waiting for the disk at each of some thousand writes is not needed here."""
    monkeypatch.setattr("semivox.fsio.os.fsync", lambda descriptor: None)


@pytest.fixture
def oblique() -> Geometry:
    return Geometry((0.7, 1.1, 2.5), (13.0, -20.5, 7.25), tuple(rotation(3).ravel().tolist()))


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 40, SHAPE).astype(np.float32)


@pytest.fixture
def make_scan(tmp_path, volume, oblique):
    """Write the same scan with any ending."""

    def make(ending: str, *, array: np.ndarray | None = None, name: str = "scan") -> Path:
        path = tmp_path / f"{name}{ending}"
        write_image(path, volume if array is None else array, oblique)
        return path

    return make


@pytest.fixture
def refused():
    """Assert that reading fails with a code, a message that names the file and a fix, and an unchanged file."""

    def check(read, path: Path, code: str, *words: str) -> InputError:
        before = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        with pytest.raises(InputError) as caught:
            read(path)
        error = caught.value
        assert error.code == code, str(error)
        assert str(path) in str(error)
        assert error.fix
        assert not error.fix.endswith(".")
        assert not error.problem.endswith(".")
        assert "\n" not in str(error)
        for word in words:
            assert word in error.problem, str(error)
        if before is not None:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == before
        return error

    return check
