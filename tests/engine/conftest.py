from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for run_material, which scripts here import as well


@pytest.fixture(scope="session")
def finished_run(toy_store, tmp_path_factory: pytest.TempPathFactory):
    """``finished_run("mean_teacher")`` -> a finished run of 6 steps; trained once per session: never change it."""
    from run_material import train

    done = {}

    def get(method: str):
        if method not in done:
            done[method] = train(toy_store, tmp_path_factory.mktemp("finished") / method, method)
        return done[method]

    return get
