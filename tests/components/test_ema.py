from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.components.ema import EmaTeacher


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 2, 1))


def move(network: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += by


def test_teacher_starts_as_a_copy_that_shares_no_memory() -> None:
    student = small_network()
    teacher = EmaTeacher(student, 0.9)
    for mine, theirs in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
        assert not mine.requires_grad
        assert theirs.requires_grad


def test_first_update_copies_the_student_whatever_the_teacher_was() -> None:
    student = small_network()
    teacher = EmaTeacher(student, 0.99)
    move(teacher.network, 5.0)
    teacher.update(student)
    for mine, theirs in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_updates_follow_the_equation_with_its_warm_up() -> None:
    student = nn.Linear(1, 1, bias=False)
    teacher = EmaTeacher(student, 0.6)
    expected = 0.0
    for k, value in enumerate([1.0, 4.0, -2.0, 8.0, 3.0]):
        decay = min(1 - 1 / (k + 1), 0.6)  # 0, 1/2, 0.6, 0.6, 0.6
        expected = decay * expected + (1 - decay) * value
        nn.init.constant_(student.weight, value)
        teacher.update(student)
        assert teacher.network.weight.item() == pytest.approx(expected, rel=1e-6)


def test_teacher_equal_to_its_student_stays_equal_to_the_last_bit() -> None:
    student = small_network()
    teacher = EmaTeacher(student, 0.99)
    for _ in range(20):
        teacher.update(student)
    for mine, theirs in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("copy_buffers", [True, False])
def test_buffers_are_copied_only_when_asked_for(copy_buffers: bool) -> None:
    student = small_network().train()
    teacher = EmaTeacher(student, 0.99, copy_buffers=copy_buffers)
    student(torch.randn(2, 1, 8, 8))
    teacher.update(student)
    same = [torch.equal(a, b) for a, b in zip(teacher.network.buffers(), student.buffers(), strict=True)]
    assert same == [copy_buffers] * 3  # running mean, running variance, number of batches (an integer)


def test_eval_teacher_keeps_its_mode_when_the_method_is_put_into_training() -> None:
    parent = nn.Module()
    parent.student = small_network()
    parent.teacher = EmaTeacher(parent.student, 0.99)
    parent.train()
    assert parent.student[2].training
    assert not any(module.training for module in parent.teacher.modules())
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(parent.teacher(image), parent.teacher(image))


def test_train_teacher_follows_the_mode_of_the_method() -> None:
    teacher = EmaTeacher(small_network().train(), 0.99, mode="train")
    image = torch.randn(2, 1, 8, 8)
    assert not torch.equal(teacher(image), teacher(image))
    assert teacher.network[1].num_batches_tracked == 2
    teacher.eval()
    assert torch.equal(teacher(image), teacher(image))


def test_forward_makes_no_graph() -> None:
    image = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert not EmaTeacher(small_network(), 0.99)(image).requires_grad


def test_number_of_updates_is_part_of_the_state() -> None:
    student = small_network()
    teacher = EmaTeacher(student, 0.99)
    for _ in range(3):
        teacher.update(student)
    restored = EmaTeacher(small_network(), 0.99)
    restored.load_state_dict(teacher.state_dict())
    move(student, 1.0)
    teacher.update(student)
    restored.update(student)
    for mine, theirs in zip(teacher.parameters(), restored.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert restored.updates == 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_update_works_in_the_precision_of_the_network(dtype: torch.dtype) -> None:
    student = nn.Linear(1, 1, bias=False, dtype=dtype)
    teacher = EmaTeacher(student, 0.5)
    for value in (1.0, 3.0):
        nn.init.constant_(student.weight, value)
        teacher.update(student)
    assert teacher.network.weight.dtype == dtype
    assert teacher.network.weight.item() == 2.0
