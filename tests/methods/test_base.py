from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.methods.base import Method, MethodConfig, total
from semivox.types import Task


def test_total_adds_weighted_terms_and_logs_raw_terms_and_weights() -> None:
    first, second = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    out = total(supervised=first, consistency=(0.1, second))
    assert out.loss.detach() == pytest.approx(2.5)
    assert {key: value.item() for key, value in out.terms.items()} == pytest.approx(
        {"supervised": 2.0, "consistency": 5.0, "consistency_weight": 0.1}
    )
    assert not any(value.requires_grad for value in out.terms.values())
    out.loss.backward()
    assert (first.grad, second.grad) == (1.0, pytest.approx(0.1))


def test_total_takes_a_weight_that_is_a_tensor() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    out = total(term=(weight, torch.tensor(4.0)))
    out.loss.backward()
    assert weight.grad == 4.0
    assert not out.terms["term_weight"].requires_grad


def test_weight_zero_keeps_the_term_in_the_graph() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    total(term=(0.0, value)).loss.backward()
    assert value.grad == 0.0


def test_total_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one term"):
        total()


class TwoParts(Method):
    def __init__(self, config: MethodConfig, make_network, task: Task) -> None:
        super().__init__(config, make_network, task)
        self.student = make_network()
        self.frozen = make_network().requires_grad_(False)


def test_default_parameter_group_is_all_that_requires_a_gradient() -> None:
    task = Task(dimensions=2, channels=1, classes=2, labeled_cases=1)
    method = TwoParts(MethodConfig(name="two"), lambda: nn.Linear(2, 3), task)
    (group,) = method.parameters_for("main")
    assert list(group) == ["params"]
    assert [id(parameter) for parameter in group["params"]] == [id(p) for p in method.student.parameters()]
    assert method.task is task


def test_what_a_method_must_define_is_said() -> None:
    task = Task(dimensions=2, channels=1, classes=2, labeled_cases=1)
    method = Method(MethodConfig(name="none"), nn.Identity, task)
    with pytest.raises(NotImplementedError, match="forward"):
        method(None, None, "main")
    with pytest.raises(NotImplementedError, match="predictor"):
        method.predictor()
