"""Mean teacher: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.

A teacher whose weights are the moving average of the student's gives better targets than the student itself; on
unlabeled scans the student learns to agree with what the teacher says about a noisy copy of the same scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from semivox.components.ema import EmaTeacher, TeacherMode
from semivox.components.perturb import gaussian_noise
from semivox.components.probabilities import Probabilities
from semivox.components.schedules import sigmoid_ramp
from semivox.losses.consistency import mse
from semivox.losses.supervised import ce_dice
from semivox.methods.base import Method, MethodConfig, total
from semivox.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from semivox.networks import NetworkFactory
    from semivox.types import Batch, Progress, StepOutput, Task


@dataclass(frozen=True, kw_only=True)
class MeanTeacherConfig(MethodConfig):
    """Settings of the mean teacher; values without another source are those of the UA-MT / SSL4MIS lineage."""

    name: str = "mean_teacher"
    ema_decay: Fraction = 0.99
    """Upper bound ``a`` of the moving average, per step; not scaled to shorter runs."""
    consistency_weight: NonNegativeFloat = 0.1
    """``w``, the weight of the consistency term at the end of the ramp."""
    rampup_steps: NonNegativeInt = 6000
    """``T``: step from which the weight is full ("length 40" times 150 iterations in the lineage); 0 is no ramp."""
    ramp_staircase: PositiveInt = 1
    """Steps between two changes of the ramp: 1 is continuous, 150 is what the released code does. A number of steps
    that is deliberately not scaled to shorter runs: the released code's is the same in a run of any length."""
    noise_std: NonNegativeFloat = 0.1
    """Standard deviation of the teacher's input noise, in units of the normalized intensity."""
    noise_clip: NonNegativeFloat = 0.2
    """Largest absolute noise, same unit."""
    teacher_mode: TeacherMode = "eval"
    """``eval``: running statistics, no dropout; ``train``: batch statistics and dropout, as released."""
    copy_buffers: bool = True
    """Whether the teacher takes the student's running statistics at each update; released code does not."""
    predict_with: Literal["student", "teacher"] = "student"
    """Which network is deployed: the student (lineage) or the teacher (original paper)."""


class MeanTeacher(Method):
    """Consistency with a weight-averaged teacher.

    ``L = L_s(x_l, y_l) + w r(t) mean_{voxels, classes} (f(x_u; theta) - f(x_u + n; theta'))^2``   (Eq. 1)

    ``theta' <- a theta' + (1 - a) theta``, ``a = min(1 - 1/(k+1), 0.99)`` after each step             (Eq. 2)

    Symbols: ``x_l, y_l`` labeled and ``x_u`` unlabeled patches; ``f`` softmax probabilities; ``theta, theta'``
    weights of student and teacher; ``n = clip(0.1 N(0, 1), +-0.2)``; ``r(t) = exp(-5 (1 - min(t, T)/T)^2)``;
    ``L_s = (CE + Dice) / 2``; ``k`` number of earlier updates.

    Deviations: as in SSL4MIS the noise is on the teacher's side only, consistency is asked of unlabeled patches
    only, and the student is deployed. Unlike it (profile ``released``), the teacher is in evaluation mode with
    the student's running statistics, and the ramp moves every step instead of every 150.
    """

    Config = MeanTeacherConfig
    profiles = {
        "default": {},
        "released": {"method.teacher_mode": "train", "method.copy_buffers": False, "method.ramp_staircase": 150},
    }
    config: MeanTeacherConfig

    def __init__(self, config: MeanTeacherConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        self.student = make_network()
        self.teacher = EmaTeacher(
            self.student, config.ema_decay, copy_buffers=config.copy_buffers, mode=config.teacher_mode
        )

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute the supervised loss of the labeled and the consistency loss of the unlabeled samples."""
        config = self.config
        labeled_logits, student_logits = batch.split(self.student(batch.image).logits)
        noisy_image = gaussian_noise(batch.unlabeled_image, std=config.noise_std, clip=config.noise_clip)
        teacher_probs = self.teacher(noisy_image).logits.softmax(1)

        supervised = ce_dice(labeled_logits, batch.label)  # L_s
        consistency = mse(student_logits.softmax(1), teacher_probs)  # Eq. 1, second term
        ramp = sigmoid_ramp(progress.step, config.rampup_steps, staircase=config.ramp_staircase)  # r(t)
        return total(supervised=supervised, consistency=(config.consistency_weight * ramp, consistency))

    def after_step(self, progress: Progress) -> None:
        """Move the teacher towards the student (Eq. 2)."""
        self.teacher.update(self.student)

    def observed(self) -> dict[str, nn.Module]:
        """Watch the teacher, whose probabilities are the targets."""
        return {"pseudo_label": Probabilities(self.teacher.network)}

    def predictor(self) -> Probabilities:
        """Deploy the student, or the teacher if so configured."""
        return Probabilities(self.student if self.config.predict_with == "student" else self.teacher.network)
