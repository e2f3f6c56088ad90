from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semivox.methods import METHODS

sys.path.insert(0, str(Path(__file__).parent))
from first_steps import STEPS, first_steps, read

HINT = "numbers changed; if that is intended, run: PYTHONPATH=src python tests/golden/update.py"


@pytest.mark.parametrize("name", METHODS)
def test_first_steps_are_those_written_down(name: str) -> None:
    written = read()
    assert name in written, f"no values for {name}; run: PYTHONPATH=src python tests/golden/update.py {name}"
    assert len(written[name]) == STEPS
    for step, (found, expected) in enumerate(zip(first_steps(name), written[name], strict=True)):
        assert found == pytest.approx(expected, rel=1e-4), f"step {step}: {HINT}"


def test_every_written_value_belongs_to_a_method() -> None:
    assert set(read()) == set(METHODS)
