from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from method_material import make_batch, make_method, progress_at, train

from semivox.errors import UsageError
from semivox.methods import METHODS, get_method, plugins

SOURCE = """
from __future__ import annotations

from dataclasses import dataclass

from semivox.components.probabilities import Probabilities
from semivox.losses.supervised import cross_entropy
from semivox.methods.base import Method, MethodConfig, total


@dataclass(frozen=True, kw_only=True)
class PlainConfig(MethodConfig):
    name: str = "{module}:Plain"
    scale: float = 2.0


class Plain(Method):
    Config = PlainConfig
    uses_unlabeled = False

    def __init__(self, config, make_network, task):
        super().__init__(config, make_network, task)
        self.network = make_network()

    def forward(self, batch, progress, turn="main"):
        logits = self.network(batch.labeled_image).logits
        return total(supervised=(self.config.scale, cross_entropy(logits, batch.label)))

    def predictor(self):
        return Probabilities(self.network)


not_a_class = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of somebody else in a folder that is on the search path; a new name for each test."""
    name = "own_" + "".join(letter for letter in request.node.name if letter.isalnum())
    (tmp_path / f"{name}.py").write_text(SOURCE.format(module=name))
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_table_is_read_without_importing_torch() -> None:
    code = "import sys; from semivox.methods import METHODS; assert METHODS; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})


@pytest.mark.parametrize("name", METHODS)
def test_every_name_of_the_table_leads_to_its_class(name: str) -> None:
    cls = get_method(name)
    assert f"{cls.__module__}:{cls.__qualname__}" == METHODS[name].target


def test_class_of_somebody_else_is_found_and_trains(own_module: str) -> None:
    name = f"{own_module}:Plain"
    method = make_method(name, scale=3.0)
    assert method.config.name == name
    losses = [outputs["main"].loss for outputs in train(method, 2)]
    assert all(torch.isfinite(loss) for loss in losses)
    assert method(make_batch(), progress_at(0), "main").terms["supervised_weight"] == 3.0


def test_class_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_here.py").write_text(SOURCE.format(module="own_here"))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    assert get_method("own_here:Plain").__name__ == "Plain"


def test_current_folder_never_shadows_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_after.py").write_text(SOURCE.format(module="own_after"))
    (tmp_path / "semivox.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    get_method("own_after:Plain")
    assert sys.path[-1] == str(tmp_path)
    assert get_method("semivox.methods.supervised:Supervised") is get_method("supervised")


def test_method_of_an_installed_package_is_found_by_its_entry_point(own_module: str, tmp_path: Path) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    lines = ["[semivox.methods]", f"their_plain = {own_module}:Plain", f"supervised = {own_module}:Plain"]
    (info / "entry_points.txt").write_text("\n".join(lines))
    assert plugins() == {"their_plain": f"{own_module}:Plain"}
    assert get_method("their_plain").__name__ == "Plain"
    assert get_method("supervised").__module__ == "semivox.methods.supervised"  # our names are ours


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mean_techer", "did you mean 'mean_teacher'"),
        ("MeanTeacher", "supervised"),
        ("", "mean_teacher"),
        ("no_such_module_here:Thing", "ModuleNotFoundError"),
        ("semivox.methods.supervised:Supervise", "did you mean 'Supervised'"),
        ("semivox.methods.base:Method", "expected a subclass"),
        ("semivox.types:Batch", "expected a subclass"),
        ("semivox.types:Nothing", "define a subclass"),
        ("semivox.types:", "not of the form package.module:Class"),
        (":Class", "not of the form package.module:Class"),
        ("..methods:Class", "cannot be imported"),
    ],
)
def test_wrong_name_is_explained(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_method(name)
    assert said in str(caught.value)
    assert repr(name) in caught.value.subject
    assert caught.value.exit_code == 2


def test_module_that_fails_while_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_broken.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="a_module_that_is_not_there"):
        get_method("own_broken:Plain")


def test_attribute_that_is_no_class_is_refused(own_module: str) -> None:
    with pytest.raises(UsageError, match="expected a subclass"):
        get_method(f"{own_module}:not_a_class")
