"""Shared material: generated data sets on disk, stores prepared from them, and real scans where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from semivox.data.store import Store

TOY = {"train": 6, "labeled": 6, "unlabeled": 2, "test": 2, "shape": (36, 36, 28), "spacing_mm": (3.0, 3.0, 4.0)}
"""Ten scans of 108 x 108 x 112 mm; all training labels exist, so that the split decides which are hidden."""


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_dataset(classes=3, channels=2, ...)`` -> folder; written once per session: never change it."""
    from semivox.demo.scans import write_dataset

    written: dict[str, Path] = {}

    def make(**changes: Any) -> Path:
        key = repr(sorted(changes.items()))
        if key not in written:
            folder = tmp_path_factory.mktemp("dataset") / "toy"
            written[key] = write_dataset(folder, **{**TOY, **changes})
        return written[key]

    return make


@pytest.fixture(scope="session")
def make_store(make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """``make_store(classes=3, ...)`` -> the prepared store of that data set; never change what is in it."""
    from semivox.data.prepare import prepare

    prepared: dict[str, Store] = {}

    def make(**changes: Any) -> Store:
        key = repr(sorted(changes.items()))
        if key not in prepared:
            store = tmp_path_factory.mktemp("prepared") / "store"
            prepared[key] = prepare(make_dataset(**changes), store, workers=0)
        return prepared[key]

    return make


@pytest.fixture(scope="session")
def toy_dataset(make_dataset: Callable[..., Path]) -> Path:
    """Generated scans in nnU-Net's layout: 3D, one channel, K = 2. Shared: copy it before changing it."""
    return make_dataset()


@pytest.fixture(scope="session")
def toy_store(make_store: Callable[..., Store]) -> Store:
    """The store prepared from ``toy_dataset``. Shared: copy its folder before changing it."""
    return make_store()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans that ``SEMIVOX_DATA`` names (it holds ``la_half``); the test is skipped without it."""
    folder = os.environ.get("SEMIVOX_DATA")
    if not folder:
        pytest.skip("needs real scans: set SEMIVOX_DATA to the folder that holds la_half")
    if not (Path(folder) / "la_half").is_dir():
        pytest.skip(f"SEMIVOX_DATA is {folder}, which holds no la_half")
    return Path(folder)
