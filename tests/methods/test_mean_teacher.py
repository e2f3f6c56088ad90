from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from method_material import make_batch, make_method, optimizers_of, progress_at, train_step
from torch import Tensor, nn

from semivox.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from semivox.networks.output import Output
from semivox.types import Batch, Task


class Threshold(nn.Module):
    """A network of one parameter: the logit of the foreground is ``weight * intensity``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.rows: list[int] = []

    def forward(self, image: Tensor) -> Output:
        self.rows.append(len(image))
        foreground = self.weight * image
        return Output(torch.cat([torch.zeros_like(foreground), foreground], 1), (), ())


def tiny(**config: object) -> MeanTeacher:
    task = Task(dimensions=2, channels=1, classes=2, labeled_cases=1)
    return MeanTeacher(MeanTeacherConfig(**config), Threshold, task)


def tiny_batch() -> Batch:
    image = torch.tensor([[0.5, -1.0], [2.0, 0.1]]).view(2, 1, 1, 2)
    return Batch(image, torch.tensor([[[1, 0]]]), torch.tensor([0, 1]))


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def test_loss_is_the_equation_worked_out_by_hand() -> None:
    method = tiny(noise_std=0.0, consistency_weight=0.3, rampup_steps=100)
    with torch.no_grad():
        method.student.weight.fill_(2.0)  # the teacher keeps 1.0
    out = method(tiny_batch(), progress_at(40), "main")

    labeled = sigmoid(2.0 * np.array([0.5, -1.0]))
    cross_entropy = -(np.log(labeled[0]) + np.log(1 - labeled[1])) / 2
    dice = 1 - (2 * labeled[0] + 1e-5) / ((labeled**2).sum() + 1 + 1e-5)
    unlabeled = np.array([2.0, 0.1])
    difference = sigmoid(2.0 * unlabeled) - sigmoid(1.0 * unlabeled)
    consistency = (2 * difference**2).sum() / 4  # both classes differ by the same amount; two voxels, two classes
    weight = 0.3 * math.exp(-5 * 0.6**2)

    assert out.terms["supervised"] == pytest.approx((cross_entropy + dice) / 2, rel=1e-5)
    assert out.terms["consistency"] == pytest.approx(consistency, rel=1e-5)
    assert out.terms["consistency_weight"] == pytest.approx(weight, rel=1e-5)
    assert out.loss.detach() == pytest.approx((cross_entropy + dice) / 2 + weight * consistency, rel=1e-5)


def test_student_runs_once_on_everything_and_teacher_on_the_unlabeled_scans() -> None:
    method = tiny()
    method(tiny_batch(), progress_at(0), "main")
    assert method.student.rows == [2]
    assert method.teacher.network.rows == [1]


def test_noise_is_on_the_side_of_the_teacher_only() -> None:
    seen = {}
    method = tiny(noise_std=0.1, noise_clip=0.2)
    method.student.register_forward_pre_hook(lambda module, inputs: seen.update(student=inputs[0]))
    method.teacher.network.register_forward_pre_hook(lambda module, inputs: seen.update(teacher=inputs[0]))
    batch = tiny_batch()
    method(batch, progress_at(0), "main")
    assert torch.equal(seen["student"], batch.image)
    noise = seen["teacher"] - batch.unlabeled_image
    assert 0 < noise.abs().max() <= 0.2 + 1e-6


@pytest.mark.parametrize("settings", [{}, {"teacher_mode": "train", "copy_buffers": False}])
def test_without_consistency_the_gradient_is_that_of_supervised_training(settings: dict) -> None:
    batch = make_batch(classes=3)
    semi = make_method("mean_teacher", classes=3, consistency_weight=0.0, **settings).eval()
    plain = make_method("supervised", classes=3).eval()  # with batch statistics the scans would share them
    semi(batch, progress_at(3), "main").loss.backward()
    plain(batch, progress_at(3), "main").loss.backward()
    pairs = zip(semi.student.parameters(), plain.network.parameters(), strict=True)
    assert all(torch.allclose(mine.grad, theirs.grad, rtol=1e-4, atol=1e-7) for mine, theirs in pairs)


def test_teacher_lags_behind_its_student() -> None:
    method = make_method("mean_teacher")
    optimizers = optimizers_of(method)
    start = method.student.state_dict()
    start = {key: value.clone() for key, value in start.items()}
    train_step(method, optimizers, make_batch(), progress_at(0))  # copies
    copied = [parameter.clone() for parameter in method.teacher.parameters()]
    for step in range(1, 3):
        train_step(method, optimizers, make_batch(seed=step), progress_at(step))
    behind = ahead = 0.0
    for old, mine, theirs in zip(copied, method.teacher.parameters(), method.student.parameters(), strict=True):
        behind += (mine - theirs).square().sum().item()
        ahead += (old - theirs).square().sum().item()
    assert 0 < behind < ahead


@pytest.mark.parametrize(("mode", "training"), [("eval", False), ("train", True)])
def test_teacher_mode_decides_whether_the_teacher_has_dropout(mode: str, training: bool) -> None:
    method = make_method("mean_teacher", dropout=0.5, teacher_mode=mode)
    assert method.teacher.network.training is training
    assert method.student.training
    image = make_batch().unlabeled_image
    first, second = method.teacher(image).logits, method.teacher(image).logits
    assert torch.equal(first, second) is not training


@pytest.mark.parametrize("copy_buffers", [True, False])
def test_copy_buffers_decides_where_the_running_statistics_come_from(copy_buffers: bool) -> None:
    method = make_method("mean_teacher", copy_buffers=copy_buffers)
    train_step(method, optimizers_of(method), make_batch(), progress_at(0))
    pairs = list(zip(method.teacher.network.buffers(), method.student.buffers(), strict=True))
    assert pairs
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs) is copy_buffers


def test_staircase_moves_the_weight_once_in_its_steps() -> None:
    method = tiny(rampup_steps=6000, ramp_staircase=150)
    weights = [
        method(tiny_batch(), progress_at(step, 6000), "main").terms["consistency_weight"] for step in (150, 299, 300)
    ]
    assert weights[0] == weights[1] < weights[2]


@pytest.mark.parametrize(("who", "weight"), [("student", 3.0), ("teacher", 1.0)])
def test_predict_with_decides_which_network_is_deployed(who: str, weight: float) -> None:
    method = tiny(predict_with=who)
    with torch.no_grad():
        method.student.weight.fill_(3.0)
    probs = method.predictor().eval()(torch.ones(1, 1, 1, 1))
    assert probs[0, 1].item() == pytest.approx(1 / (1 + math.exp(-weight)))
    assert sum(parameter.numel() for parameter in method.predictor().parameters()) == 1
