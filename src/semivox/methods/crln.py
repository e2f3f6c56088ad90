"""CRLN: Wang et al., "Leveraging Labelled Data Knowledge", Medical Image Analysis 2025, arXiv:2502.11456.

Learned prototypes of each class look at the decoder's features of a scan and give a second opinion, with which the
teacher's pseudo-labels are corrected; voxels of which the student is unsure are pulled to a cautious class center.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from semivox.components.ema import EmaTeacher, TeacherMode
from semivox.components.hard_dice import hard_dice
from semivox.components.probabilities import Probabilities
from semivox.components.prototypes import DynamicInteraction, InteractionProbabilities, PrototypeNetwork
from semivox.components.rectification import Rectification, RectifiedProbabilities, RectifyMode, StrengthParameter
from semivox.components.schedules import sigmoid_ramp
from semivox.components.strong_views import StrongView, scale_intensity
from semivox.components.supervision import Positive, PositiveSupervision, SupervisionSettings, XiMode
from semivox.components.voxels import confidence_and_class
from semivox.losses.pseudo_label import confident_cross_entropy
from semivox.losses.supervised import ce_dice
from semivox.methods.base import Method, MethodConfig, total
from semivox.networks.features import decoder_widths
from semivox.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from semivox.networks import NetworkFactory
    from semivox.types import Batch, Progress, StepOutput, Task


@dataclass(frozen=True, kw_only=True)
class CRLNConfig(MethodConfig):
    """Settings of CRLN. No code was released: what the paper leaves open has ReCo's or TraCoCo's value, or ours."""

    name: str = "crln"
    drop: tuple[Literal["rectification", "cps", "dim", "cutmix", "noise"], ...] = ()
    """Parts to leave out: ``rectification`` of the pseudo-labels, ``cps`` (the positive supervision), ``dim`` (the
    interaction module; without it nothing rectifies, and the positive is the mean of the class), ``cutmix`` and
    ``noise`` of the strong view."""
    ema_decay: Fraction = 0.99
    """Upper bound of the moving average, per step; not scaled to shorter runs (ReCo, TraCoCo)."""
    teacher_mode: TeacherMode = "eval"
    """``eval``: running statistics copied from the student, no dropout; ``train``: batch statistics and dropout, as in
    ReCo and UA-MT."""
    predict_with: Literal["student", "teacher"] = "student"
    """Which network is deployed; always without rectification."""
    threshold: Fraction = 0.97
    """tau: least confidence of a pseudo-label that is learned from, and below which a voxel can be an anchor (ReCo)."""
    weak_threshold: Fraction = 0.70
    """tau_w: least confidence of a pseudo-label that CPS trusts (ReCo)."""
    unlabeled_weight: NonNegativeFloat = 1.0
    """Weight of the pseudo-label term (Eq. 15)."""
    u_rampup_steps: NonNegativeInt = 0
    """Step from which that weight is full; 0 is no ramp (Eq. 15)."""
    dim_weight: NonNegativeFloat = 1.0
    """Weight of the loss of the class map M on labeled samples (Eq. 15)."""
    cps_weight: NonNegativeFloat = 1.0
    """Weight of the positive supervision (Eq. 15)."""
    cps_start_steps: NonNegativeInt = 0
    """Step from which the positive supervision counts (Eq. 15: from the first)."""
    rectify: RectifyMode = "logit"
    """How the class map corrects the teacher: added to its logits, or to its probabilities (``prob_norm``,
    ``prob_raw``), instead of them where it alone is sure (``replace``, Eq. 17), or by a learned 1x1x1 convolution of
    both (``concat``)."""
    rectify_start_steps: NonNegativeInt = 800
    """S: first step with rectified pseudo-labels, of a run of 9000 (paper). Shorter runs scale it, but not below 200
    steps (or half of the run if less): the interaction module must have learned by then."""
    mu_start: Fraction = 0.1
    """mu at the start; the class map counts ``1 - mu`` (Fig. 11: low early, then rising)."""
    mu_param: StrengthParameter = "raw"
    """``raw`` learns mu and clips it to [0, 1]; ``sigmoid`` learns its logit."""
    prototypes: PositiveInt = 16
    """R, prototypes of each class (paper)."""
    proto_std: PositiveFloat = 1.0
    """Standard deviation of the prototypes at the start; 0.02 never leaves the all-background plateau."""
    dim_residual: bool = True
    """Whether the first attention adds to the prototypes (ours), or replaces them (paper, Eq. 4: at step 800 the class
    map of our pilot was of no use)."""
    positive: Positive = "mixed"
    """What anchors are pulled to: between the class mean and the prototypes' mean (``mixed``, Eq. 13), or one of them
    (``mean``, ``proto``)."""
    xi: NonNegativeFloat = 0.6
    """Weight of the prototypes' mean in ``mixed`` (paper, Sec. 4.2)."""
    xi_mode: XiMode = "fixed"
    """``uniform`` draws it from U(0, 1), once for each class and step (paper, Eq. 13)."""
    temperature: PositiveFloat = 0.5
    """t of the contrastive loss (paper)."""
    anchors: PositiveInt = 256
    """Anchors of each class and step (ReCo)."""
    negatives: PositiveInt = 512
    """Negatives of each class, or of each anchor (ReCo)."""
    per_anchor: bool = False
    """Negatives for each anchor (ReCo) instead of for each class."""
    cps_hidden: PositiveInt = 32
    """Channels between the two convolutions of the representation head (ours)."""
    cps_act: bool = True
    """Batch normalization and ReLU between them (ReCo); Eq. 9 has none."""
    noise: Literal["gaussian", "uniform"] = "gaussian"
    """Noise of the strong view."""
    noise_std: NonNegativeFloat = 0.1
    """Standard deviation of Gaussian noise, in units of the normalized intensity (UA-MT)."""
    noise_clip: NonNegativeFloat = 0.2
    """Largest absolute Gaussian noise, same unit (UA-MT)."""
    noise_amplitude: NonNegativeFloat = 0.2
    """Largest absolute uniform noise, same unit (TraCoCo)."""
    intensity_scale: Fraction = 0.0
    """Spread s of a factor U(1 - s, 1 + s) for each sample, with a clip to [0, 1]: for ``data.intensity=minmax`` alone
    (TraCoCo 0.25); 0 switches both off."""

    @property
    def rectifies(self) -> bool:
        """Without the interaction module there is nothing to rectify with."""
        return {"rectification", "dim"}.isdisjoint(self.drop)

    @property
    def strong_view(self) -> StrongView:
        """What the student sees of the unlabeled samples."""
        noise = "none" if "noise" in self.drop else self.noise
        amounts = self.noise_std, self.noise_clip, self.noise_amplitude
        return StrongView(noise, *amounts, cutmix="cutmix" not in self.drop)

    @property
    def supervision(self) -> SupervisionSettings:
        """Settings of the positive supervision."""
        return SupervisionSettings(
            hidden=self.cps_hidden, activate=self.cps_act, threshold=self.threshold, anchors=self.anchors,
            negatives=self.negatives, per_anchor=self.per_anchor, temperature=self.temperature,
            positive=self.positive, xi=self.xi, xi_mode=self.xi_mode)


class CRLN(Method):
    """Mean teacher with strong views, whose pseudo-labels are rectified by prototypes.

    ``L = L_s(z_l, y) + L_s(m_l, y) + l_u + l_cp``, and ``l_r`` for mu alone                       (Eq. 15, 16)

    ``l_u = mean_v 1[c_v >= tau] NLL(z_s, y')_v``, ``c, y' = max, argmax softmax(z' + (1 - mu) m')``   (Eq. 2, 8)

    ``l_cp``: mean over classes and anchors of InfoNCE with ``r+ = (r_m + xi mean_R P)/(1 + xi)``     (Eq. 13, 14)

    ``l_r = L_s(sg[z_l] + (1 - mu) sg[m_l], y)``                                                        (Eq. 16)

    Symbols: ``z`` logits, ``m`` class map of the prototypes P (Eq. 3-6), primes for the teacher on the weak view,
    ``z_s`` student on the strong view, sg stop-gradient, ``L_s = (CE + Dice) / 2``. Before step S m' does not count.

    Deviations: the sum of a probability and an unbounded map is read as one of logits (``rectify``), Eq. 14 has means.
    """

    Config = CRLNConfig
    published_steps = 9000
    step_floors = {"rectify_start_steps": 200}
    profiles = {
        "default": {"optimizer.lr": 2.5e-3, "optimizer.weight_decay": 5e-4},
        "paper": {"method.dim_residual": False, "data.intensity": "minmax", "method.noise": "uniform",
                  "method.intensity_scale": 0.25},
    }
    config: CRLNConfig

    def __init__(self, config: CRLNConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        network, shape = make_network(), {"classes": task.classes, "dimensions": task.dimensions}
        _, coarse, fine, finest = decoder_widths(network, needed_by="crln")
        interaction = None if "dim" in config.drop else DynamicInteraction(
            (coarse, fine), prototypes=config.prototypes, std=config.proto_std, residual=config.dim_residual, **shape)
        self.student = PrototypeNetwork(network, interaction)
        running = config.teacher_mode == "eval"
        self.teacher = EmaTeacher(self.student, config.ema_decay, copy_buffers=running, mode=config.teacher_mode)
        self.rectification = None if not config.rectifies else Rectification(
            config.rectify, start=config.mu_start, parameter=config.mu_param, threshold=config.threshold, **shape)
        self.cps = None if "cps" in config.drop else PositiveSupervision(
            finest, coarse, dimensions=task.dimensions, settings=config.supervision)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Label the unlabeled samples with the rectified teacher and compute all losses of the step."""
        config = self.config
        labeled_image, weak_image = batch.split(scale_intensity(batch.image, config.intensity_scale))
        confidence, pseudo_label, watch = self._pseudo_labels(weak_image, progress)
        strong_image, splice = config.strong_view(weak_image)
        confidence, pseudo_label = splice(confidence), splice(pseudo_label)

        output, opinion = self.student(torch.cat((labeled_image, strong_image)), batch.labeled_count)
        logits, strong_logits = batch.split(output.logits)
        reliable = confidence >= config.threshold
        unlabeled = confident_cross_entropy(strong_logits, pseudo_label, reliable)  # Eq. 2
        weight = config.unlabeled_weight * sigmoid_ramp(progress.step, config.u_rampup_steps)
        terms: dict[str, tuple[float | Tensor, Tensor]] = {"unlabeled": (weight, unlabeled)}
        watch["coverage"] = reliable.float().mean()
        if opinion is not None:
            terms["dim"] = (config.dim_weight, ce_dice(opinion, batch.label))
            watch["dim_dice"] = hard_dice(confidence_and_class(opinion)[1], batch.label, classes=self.task.classes)
        if self.cps is not None:
            label = torch.cat((batch.label, pseudo_label))
            trusted = torch.cat((torch.ones_like(batch.label, dtype=torch.bool), confidence > config.weak_threshold))
            probs, prototypes = output.logits.softmax(1), self.student.prototypes
            cps, watch["anchors"] = self.cps(output.decoder[-1], probs, label, trusted, prototypes)
            terms["cps"] = (config.cps_weight * (progress.step >= config.cps_start_steps), cps)  # Eq. 14
        if self.rectification is not None and self.rectification.learned:
            rectified = self.rectification(logits.detach(), opinion.detach())
            terms["mu_loss"] = (1.0, ce_dice(rectified, batch.label))  # Eq. 16
            watch |= self.rectification.watched()
        return total(watch, supervised=ce_dice(logits, batch.label), **terms)  # Eq. 15, and 16 for mu

    def _pseudo_labels(self, weak_image: Tensor, progress: Progress) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Confidence and label of each unlabeled voxel, and the share of sure ones before and after rectification."""
        output, opinion = self.teacher(weak_image)
        confidence, label = confidence_and_class(output.logits.softmax(1))
        watch = {"reliable_before": (confidence >= self.config.threshold).float().mean()}
        if self.rectification is not None:
            rectified, corrected = confidence_and_class(self.rectification.scores(output.logits, opinion))
            watch["reliable_after"] = (rectified >= self.config.threshold).float().mean()
            if progress.step >= self.config.rectify_start_steps:  # Eq. 8
                return rectified, corrected, watch
        return confidence, label, watch

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, its module and its prototypes towards the student's; keep mu in [0, 1]."""
        if self.rectification is not None:
            self.rectification.project()
        self.teacher.update(self.student)

    def parameters_for(self, turn: str) -> list[dict[str, Any]]:
        """The prototypes, and what rectifies, are not decayed."""
        prototypes = self.student.prototypes
        apart = [[prototypes]] if prototypes is not None else []
        if self.rectification is not None and self.rectification.learned:
            apart.append(list(self.rectification.parameters()))
        held = {id(parameter) for group in apart for parameter in group}
        rest = [each for each in self.parameters() if each.requires_grad and id(each) not in held]
        return [{"params": rest}, *({"params": group, "weight_decay": 0.0} for group in apart)]

    def observed(self) -> dict[str, nn.Module]:
        """Watch the teacher, rectified (also before step S) and plain, and the student's class map."""
        teacher = cast(PrototypeNetwork, self.teacher.network)
        watched: dict[str, nn.Module] = {"pseudo_label": Probabilities(teacher.network)}
        if self.rectification is not None:
            watched["teacher"] = watched["pseudo_label"]
            watched["pseudo_label"] = RectifiedProbabilities(teacher, self.rectification)
        if self.student.interaction is not None:
            watched["dim"] = InteractionProbabilities(self.student)
        return watched

    def predictor(self) -> Probabilities:
        """Deploy the student, or the teacher if so configured; without rectification."""
        chosen = self.student if self.config.predict_with == "student" else self.teacher.network
        return Probabilities(cast(PrototypeNetwork, chosen).network)
