"""EmaTeacher: a network whose weights are the moving average of a student's."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import nn

TeacherMode = Literal["eval", "train"]


class EmaTeacher(nn.Module):
    """Exponential moving average of a student network, usable as a target inside a training step.

    After each optimizer step, ``theta_T <- a theta_T + (1 - a) theta_S`` with ``a = min(1 - 1/(k+1), decay)``
    and ``k`` the number of earlier updates, so the first update copies the student (Tarvainen & Valpola,
    2017, Sec. 3). The count ``k`` is a buffer: it is saved, restored and never leaves the device.

    The teacher starts as a deep copy and has no trainable parameter. The update is a function of the student
    alone, so ranks that hold equal students keep equal teachers without communication.

    Args:
        student: the network to follow. It is not stored, so its parameters are not registered twice.
        decay: upper bound of ``a``, per step, 0..1.
        copy_buffers: copy the student's buffers (running statistics) at each update. Buffers are copied, not
            averaged. Without it they follow from the teacher's own forward passes in mode ``"train"``.
        mode: ``"eval"`` keeps the teacher in evaluation mode, whatever mode the surrounding method is put in
            (running statistics, no dropout); ``"train"`` lets it follow the surrounding method.
    """

    updates: torch.Tensor

    def __init__(
        self, student: nn.Module, decay: float, *, copy_buffers: bool = True, mode: TeacherMode = "eval"
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay
        self.copy_buffers = copy_buffers
        self.mode = mode
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.train(student.training)

    def train(self, mode: bool = True) -> EmaTeacher:
        """Follow the surrounding method's mode, or stay in evaluation mode if this teacher was built so."""
        super().train(mode and self.mode == "train")
        return self

    @torch.no_grad()
    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return what the averaged network returns, without a graph."""
        return self.network(*inputs)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the teacher towards ``student``: once after each optimizer step.

        Args:
            student: the network that the teacher was built from, or one with the same parameters in the same order.
        """
        decay = (1 - 1 / (self.updates + 1)).clamp(max=self.decay)
        mine: list[torch.Tensor] = list(self.network.parameters())
        theirs: list[torch.Tensor] = list(student.parameters())
        # lerp is exact at both ends: weight 1 copies the student, equal networks stay equal to the last bit.
        torch._foreach_lerp_(mine, theirs, [(1 - decay).to(parameter.dtype) for parameter in mine])
        if self.copy_buffers:
            for mine_buffer, their_buffer in zip(self.network.buffers(), student.buffers(), strict=True):
                mine_buffer.copy_(their_buffer)
        self.updates += 1
