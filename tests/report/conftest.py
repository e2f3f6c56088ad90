from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for synthetic, which other tests import as well
sys.path.insert(1, str(Path(__file__).parents[1] / "engine"))  # for run_material


@pytest.fixture(scope="session")
def trained_run(toy_store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 6 steps: never change it."""
    from run_material import train

    return train(toy_store, tmp_path_factory.mktemp("trained") / "supervised", "supervised").path
