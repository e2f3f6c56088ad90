"""The example of docs/concepts/method-contract.md runs as it is printed."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from method_material import make_batch, make_method, progress_at, short_run, train

import semivox.components
from semivox.methods.base import Method, MethodConfig

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "method-contract.md"
NAME = "self_training:SelfTraining"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "self_training.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return NAME


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 4), (3, 2)])
def test_example_trains_and_predicts(example: str, dimensions: int, classes: int) -> None:
    method = make_method(example, dimensions=dimensions, classes=classes, threshold=0.3, **short_run(example, 3))
    before = method.predictor().eval()(make_batch(dimensions, classes).image).detach()
    method.train()
    for outputs in train(method, 3):
        assert torch.isfinite(outputs["main"].loss)
        assert outputs["main"].terms["pseudo"] > 0
    after = method.predictor().eval()(make_batch(dimensions, classes).image)
    assert after.shape == before.shape
    assert not torch.equal(after, before)


def test_example_ignores_what_it_is_not_sure_of(example: str) -> None:
    method = make_method(example, threshold=1.0)
    assert method(make_batch(), progress_at(0), "main").terms["pseudo"] == 0


def test_page_names_every_member_of_the_contract() -> None:
    page = PAGE.read_text(encoding="utf-8")
    members = [name for name in vars(Method) if not name.startswith("_")]
    assert {"turns", "predictor", "after_step"} <= set(members)
    assert [name for name in members if f"`{name}" not in page] == []
    assert MethodConfig.__name__ in page


def test_page_names_parts_that_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for module, names in re.findall(r"^\| `(semivox\.components\.\w+)` \| (.*) \|$", page, re.MULTILINE):
        found = dict(inspect.getmembers(__import__(module, fromlist=["*"])))
        for name in re.findall(r"`(\w+)`", names):
            assert name in found
    modules = {path.stem for path in Path(semivox.components.__file__).parent.glob("[a-z]*.py")}
    assert [module for module in modules if f"`semivox.components.{module}`" not in page] == []
