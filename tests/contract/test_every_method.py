"""What every method must satisfy. A method's own test file says only what is special to it."""

from __future__ import annotations

import copy
import inspect
import json
import math
import os
import random
import re
import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from method_material import (
    SIDES,
    gradients,
    make_batch,
    make_method,
    optimizers_of,
    progress_at,
    short_run,
    train,
    train_step,
)
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import nn

from semivox.components.ema import EmaTeacher
from semivox.methods import METHODS, get_method
from semivox.methods.base import Method, MethodConfig
from semivox.types import Batch

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "methods"
SHAPES = [(2, 2), (2, 4), (3, 2), (3, 4)]

WITHOUT_EFFECT = {"crln": ("interaction.spatial.bias", "interaction.merge.bias")}
"""Parameters that add the same to the logits of all classes, so that no loss depends on them."""

every_method = pytest.mark.parametrize("name", METHODS)
every_shape = pytest.mark.parametrize(("dimensions", "classes"), SHAPES)
every_profile = pytest.mark.parametrize(
    ("name", "profile"), [(name, profile) for name in METHODS for profile in get_method(name).profiles]
)
semi_supervised = pytest.mark.parametrize("name", [name for name in METHODS if get_method(name).uses_unlabeled])


def step_loss(method: Method, batch: Batch, *, step: int = 5) -> torch.Tensor:
    torch.manual_seed(7)
    return sum(method(batch, progress_at(step), turn).loss for turn in method.turns)


def unsupervised_weights(name: str) -> dict[str, float]:
    """Overrides that switch every unsupervised term off."""
    names = {field.name for field in fields(get_method(name).Config) if field.name.endswith("_weight")}
    weights = dict.fromkeys(names - {"supervised_weight"}, 0.0)
    assert weights, "a semi-supervised method has a field named <term>_weight for each unsupervised term"
    return weights


def droppable(name: str) -> tuple[str, ...]:
    """What ``method.drop`` can name."""
    hint = get_type_hints(get_method(name).Config).get("drop")
    return get_args(get_args(hint)[0]) if hint else ()


def parameters_of(method: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in method.named_parameters()}


# --- the class -------------------------------------------------------------------------------------------------


@every_method
def test_class_declares_what_the_engine_reads(name: str) -> None:
    cls = get_method(name)
    assert issubclass(cls, Method)
    assert cls.__mro__[1] is Method  # inheritance is one level deep
    assert cls.turns
    stages = cls.stages(cls.Config())
    assert sum(stage.share for stage in stages) == pytest.approx(1.0)
    assert all(stage.share > 0 for stage in stages)
    assert cls.published_steps > 0
    assert [path for path in cls.profiles["default"] if path.startswith("method.")] == []  # the class's defaults


@every_method
def test_config_is_a_frozen_dataclass_with_documented_defaults(name: str) -> None:
    config = get_method(name).Config
    assert is_dataclass(config)
    assert config.__dataclass_params__.frozen
    assert issubclass(config, MethodConfig)
    assert config().name == name
    assert all(field.default is not MISSING for field in fields(config))
    source = inspect.getsource(config)
    for field in fields(config):
        if field.name != "name":
            assert re.search(rf'^    {field.name}: .*\n    """', source, re.MULTILINE), f"{field.name} has no docstring"


@every_profile
def test_profile_overrides_existing_fields_with_legal_values(name: str, profile: str) -> None:
    config_class = get_method(name).Config
    own = {field.name for field in fields(config_class)}
    overrides = get_method(name).profiles[profile]
    config = {path.removeprefix("method."): value for path, value in overrides.items() if path.startswith("method.")}
    assert set(config) <= own
    loaded = TypeAdapter(config_class).validate_json(json.dumps(config), strict=True)
    assert loaded == replace(config_class(), **config)
    unchanged = [key for key, value in config.items() if getattr(config_class(), key) == value]
    assert unchanged == []


@every_profile
def test_every_profile_takes_a_finite_step(name: str, profile: str) -> None:
    overrides = get_method(name).profiles[profile]
    config = {path.removeprefix("method."): value for path, value in overrides.items() if path.startswith("method.")}
    for outputs in train(make_method(name, **config), 1):
        assert all(torch.isfinite(out.loss) for out in outputs.values())


@every_method
def test_file_is_short_and_keeps_out_of_the_engines_business(name: str) -> None:
    source = inspect.getsource(inspect.getmodule(get_method(name)))
    settings = inspect.getsource(get_method(name).Config)
    assert len(source.splitlines()) - len(settings.splitlines()) <= 150
    forbidden = [
        r"\.item\(",
        r"\.cuda\(",
        r"\.cpu\(",
        r"\.numpy\(",
        r"\.to\(",
        r"\bdevice\b",
        r"\bprint\(",
        r"\bopen\(",
    ]
    forbidden += [
        r"\boptim\b",
        r"\blogging\b",
        r"\blightning\b",
        r"\.train\(",
        r"\.eval\(",
        r"\bGenerator\b",
        r"\bassert\b",
    ]
    assert [pattern for pattern in forbidden if re.search(pattern, source)] == []


@every_method
def test_method_is_cited_and_documented(name: str) -> None:
    entry = METHODS[name]
    assert entry.title
    assert entry.venue
    assert 1990 < entry.year < 2100
    assert entry.summary.endswith(".")
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert re.sub(r"\s+", " ", entry.title) in re.sub(r"\s+", " ", page)
    assert str(entry.year) in page
    for field in fields(get_method(name).Config):
        if field.name != "name":
            assert f"`{field.name}`" in page, f"docs/methods/{name}.md does not mention {field.name}"


# --- one step --------------------------------------------------------------------------------------------------


@every_method
@every_shape
def test_step_gives_a_finite_loss_and_detached_terms(name: str, dimensions: int, classes: int) -> None:
    method = make_method(name, dimensions=dimensions, classes=classes, dropout=0.5)
    for outputs in train(method, 2):
        for out in outputs.values():
            assert out.loss.ndim == 0
            assert out.loss.dtype == torch.float32
            assert torch.isfinite(out.loss)
            assert out.terms
            for term in out.terms.values():
                assert term.ndim == 0
                assert not term.requires_grad
                assert torch.isfinite(term)


@every_method
def test_loss_is_the_sum_of_the_logged_terms_times_their_weights(name: str) -> None:
    for outputs in train(make_method(name), 2):
        for out in outputs.values():
            raw = {
                key: value for key, value in out.terms.items() if f"{key}_weight" in out.terms or key == "supervised"
            }
            expected = sum(value * out.terms.get(f"{key}_weight", 1.0) for key, value in raw.items())
            assert torch.allclose(out.loss.detach(), expected, rtol=1e-5)


@every_method
def test_every_trainable_parameter_gets_a_gradient_in_some_turn(name: str) -> None:
    # in evaluation mode too: a bias before batch statistics has none by construction
    method = make_method(name, **short_run(name, 10))
    found = [gradients(method.train(mode), make_batch(), progress_at(9)) for mode in (True, False)]
    trainable = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    assert trainable <= {key for some in found for key in some}
    reached = {key for some in found for key, gradient in some.items() if gradient.abs().sum() > 0}
    assert [key for key in trainable - reached if not key.endswith(WITHOUT_EFFECT.get(name, ()))] == []


@every_method
def test_what_is_not_trained_gets_no_gradient_and_no_optimizer(name: str) -> None:
    method = make_method(name)
    frozen = {key for key, parameter in method.named_parameters() if not parameter.requires_grad}
    assert not frozen & set(gradients(method, make_batch(), progress_at(5)))
    optimized = {id(p) for turn in method.turns for group in method.parameters_for(turn) for p in group["params"]}
    trainable = {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
    assert optimized == trainable


@every_method
def test_supervised_term_does_not_depend_on_the_order_of_the_unlabeled_cases(name: str) -> None:
    method = make_method(name).eval()
    batch = make_batch(unlabeled=2)
    order = torch.tensor([0, 1, 3, 2])
    swapped = Batch(batch.image[order], batch.label, batch.case[order])
    supervised_turns = 0
    for turn in method.turns:
        torch.manual_seed(7)
        before = method(batch, progress_at(5), turn).terms
        torch.manual_seed(7)
        after = method(swapped, progress_at(5), turn).terms
        if "supervised" in before:
            supervised_turns += 1
            assert torch.allclose(before["supervised"], after["supervised"], rtol=1e-6)
    assert supervised_turns, "no turn has a term named 'supervised'"


@semi_supervised
def test_unlabeled_term_reaches_the_student(name: str) -> None:
    off = unsupervised_weights(name)
    found = []
    for weights in ({}, off):  # after the ramp; with batch statistics both terms would share all scans
        method = make_method(name, **short_run(name, 10), **weights).eval()
        found.append(gradients(method, make_batch(), progress_at(10)))
    with_term, without_term = found
    difference = sum((with_term[key] - without_term[key]).square().sum() for key in with_term).sqrt()
    size = sum(gradient.square().sum() for gradient in without_term.values()).sqrt()
    assert difference > 1e-6 * size, "the trained parameters get no gradient from the unlabeled scans"


@semi_supervised
def test_zero_unsupervised_weights_leave_the_supervised_loss(name: str) -> None:
    method = make_method(name, **unsupervised_weights(name)).eval()
    batch = make_batch()
    image = batch.image.requires_grad_()
    step_loss(method, batch._replace(image=image)).backward()
    assert image.grad[batch.labeled_count :].abs().sum() == 0
    assert image.grad[: batch.labeled_count].abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in METHODS if not get_method(name).uses_unlabeled])
def test_methods_without_unlabeled_scans_do_not_look_at_them(name: str) -> None:
    batch = make_batch()
    alone = Batch(batch.labeled_image, batch.label, batch.case[: batch.labeled_count])
    method = make_method(name)
    assert torch.equal(step_loss(method, batch), step_loss(method, alone))


@every_method
def test_step_draws_only_from_the_default_generator_of_torch(name: str) -> None:
    method = make_method(name, dropout=0.5)
    python_state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    first = step_loss(method, make_batch())
    assert random.getstate() == python_state
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(step_loss(make_method(name, dropout=0.5), make_batch()), first)


@every_method
def test_step_leaves_its_batch_and_its_modes_alone(name: str) -> None:
    method = make_method(name)
    batch = make_batch()
    copies = [values.clone() for values in batch]
    modes = [module.training for module in method.modules()]
    train_step(method, optimizers_of(method), batch, progress_at(0))
    assert all(torch.equal(a, b) for a, b in zip(batch, copies, strict=True))
    assert [module.training for module in method.modules()] == modes


@every_method
@every_shape
def test_what_is_observed_gives_probabilities_and_shares_the_networks(name: str, dimensions: int, classes: int) -> None:
    method = make_method(name, dimensions=dimensions, classes=classes)
    before = {id(parameter) for parameter in method.parameters()}
    image = make_batch(dimensions, classes).image[:2]
    for module in method.observed().values():
        with torch.no_grad():
            probs = module.eval()(image)
        assert probs.shape == (2, classes, *SIDES[:dimensions])
        assert torch.allclose(probs.sum(1), torch.ones((), dtype=probs.dtype), atol=1e-5)
        assert {id(parameter) for parameter in module.parameters()} <= before


@semi_supervised
def test_each_dropped_term_leaves_the_log_and_the_rest_still_trains(name: str) -> None:
    names = droppable(name)
    if not names:
        pytest.skip("this method has nothing to drop")
    for dropped in [(one,) for one in names] + [tuple(names)]:
        method = make_method(name, **short_run(name, 2), drop=dropped)
        for outputs in train(method, 2):
            for out in outputs.values():
                assert torch.isfinite(out.loss)
                assert not set(dropped) & set(out.terms)


@every_method
def test_ramps_start_low_and_end_at_the_configured_weight(name: str) -> None:
    method = make_method(name, **short_run(name, 10))
    steps = (0, 10)
    at = {(turn, step): method(make_batch(), progress_at(step), turn).terms for turn in method.turns for step in steps}
    weights = [(turn, key) for turn in method.turns for key in at[turn, 0] if key.endswith("_weight")]
    if not weights:
        assert not method.uses_unlabeled, "a semi-supervised method logs the weight of each unsupervised term"
        pytest.skip("this method has no weighted term")
    for turn, key in weights:
        start, end = float(at[turn, 0][key]), float(at[turn, 10][key])
        assert 0 <= start <= end
        if hasattr(method.config, key):
            assert end == pytest.approx(getattr(method.config, key))
        if start < end:  # the others are constant
            assert start == pytest.approx(math.exp(-5) * end, rel=1e-4)
    if getattr(method.config, "rampup_steps", 0):
        assert any(at[turn, 0][key] < at[turn, 10][key] for turn, key in weights)


# --- what it remembers -----------------------------------------------------------------------------------------


@semi_supervised
def test_teacher_equal_to_student_stays_equal_and_follows_when_it_moves(name: str) -> None:
    method = make_method(name)
    teachers = [module for module in method.modules() if isinstance(module, EmaTeacher)]
    if not teachers:
        pytest.skip("this method has no teacher")
    optimizers = optimizers_of(method, lr=0.0)
    for step in range(3):  # nothing moves, so the copies must not
        before = [parameters_of(teacher) for teacher in teachers]
        train_step(method, optimizers, make_batch(), progress_at(step))
        for teacher, values in zip(teachers, before, strict=True):
            assert all(torch.equal(value, values[key]) for key, value in parameters_of(teacher).items())
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter += 1.0
        method.after_step(progress_at(3))
    for teacher, values in zip(teachers, before, strict=True):
        for key, value in parameters_of(teacher).items():
            moved = (value - values[key]).mean()
            assert 0 < moved < 1


@every_method
def test_restored_state_makes_the_next_step_equal_to_the_last_bit(name: str) -> None:
    method = make_method(name, dropout=0.5)
    optimizers = optimizers_of(method)
    for step in range(2):
        train_step(method, optimizers, make_batch(seed=step), progress_at(step))

    restored = make_method(name, dropout=0.5)
    state = {key: value.clone() for key, value in method.state_dict().items()}
    restored.load_state_dict(load(save(state)))  # through a file format that knows nothing but tensors
    optimizers_restored = optimizers_of(restored)
    for turn, optimizer in optimizers.items():
        optimizers_restored[turn].load_state_dict(copy.deepcopy(optimizer.state_dict()))  # it shares what it is given

    for step in range(2, 4):
        first = train_step(method, optimizers, make_batch(seed=step), progress_at(step))
        second = train_step(restored, optimizers_restored, make_batch(seed=step), progress_at(step))
        assert all(torch.equal(first[turn].loss, second[turn].loss) for turn in method.turns)
    after = restored.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in method.state_dict().items())


# --- where it runs ---------------------------------------------------------------------------------------------


@every_method
def test_bf16_on_one_device_computes_in_bf16_and_stays_near_fp32(name: str) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    plain = make_method(name, **short_run(name, 10))
    wrapped = fabric.setup_module(make_method(name, **short_run(name, 10)))
    seen: set[torch.dtype] = set()
    for module in wrapped.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    for turn in plain.turns:
        torch.manual_seed(7)
        expected = plain(make_batch(), progress_at(5), turn)
        torch.manual_seed(7)
        found = wrapped(make_batch(), progress_at(5), turn)
        assert found.loss.dtype == torch.float32
        assert found.loss.item() == pytest.approx(expected.loss.item(), rel=0.03)
    assert seen == {torch.bfloat16}


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two ranks says after training every method: one pair of processes for all of them."""
    folder = tmp_path_factory.mktemp("ranks")
    search = os.pathsep.join([path for path in sys.path if path])
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, HERE / "train_on_ranks.py", str(rank), "2", folder] for rank in range(2)]
    ranks = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=300)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@every_method
def test_two_ranks_with_different_batches_keep_equal_parameters(name: str, on_two_ranks: list[dict]) -> None:
    first, second = (rank[name] for rank in on_two_ranks)
    assert first["losses"] != second["losses"]
    assert first["before"] == second["before"]
    assert first["after"] != first["before"]
    assert first["after"] == second["after"]


# --- what is deployed ------------------------------------------------------------------------------------------


@every_method
@every_shape
def test_predictor_gives_probabilities_and_survives_export(name: str, dimensions: int, classes: int) -> None:
    method = make_method(name, dimensions=dimensions, classes=classes, dropout=0.5)
    predictor = method.predictor().eval()
    image = make_batch(dimensions, classes).image[:2]
    with torch.no_grad():
        probs = predictor(image)
        assert probs.shape == (2, classes, *SIDES[:dimensions])
        assert probs.dtype == torch.float32
        assert torch.allclose(probs.sum(1), torch.ones(()), atol=1e-5)
        exported = torch.export.export(predictor, (image,)).module()
        assert torch.allclose(exported(image), probs, atol=1e-5)


@every_method
def test_predictor_deploys_what_was_trained(name: str) -> None:
    method = make_method(name)
    before = method.predictor().eval()(make_batch().image).detach()
    for _ in train(method, 2):
        pass
    assert not torch.allclose(method.predictor().eval()(make_batch().image), before, atol=1e-4)


@pytest.mark.slow
@every_method
def test_method_overfits_one_labeled_case(name: str) -> None:
    steps = 240
    hindrances = {"cutmix", "cps"} & set(droppable(name))  # what keeps a network from learning one case by heart
    dropped = {"drop": tuple(sorted(hindrances))} if hindrances else {}
    method = make_method(name, classes=4, **short_run(name, steps), **dropped)
    optimizers = optimizers_of(method, lr=0.05)
    multiple = method.samples_multiple
    batch = make_batch(classes=4, labeled=multiple, unlabeled=multiple)
    for step in range(steps):
        train_step(method, optimizers, batch, progress_at(step, steps))
    with torch.no_grad():
        predicted = method.predictor().eval()(batch.labeled_image).argmax(1)
    for number in range(1, 4):
        mine, theirs = predicted == number, batch.label == number
        assert theirs.sum() > 100
        assert 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) > 0.9
