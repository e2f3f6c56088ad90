"""Dual-Net: Lu, Wu, Kateb & Chaddad, "Semi-Supervised Medical Image Segmentation via Dual Networks", arXiv:2505.17690.

Two networks of different structure learn from the labels and from each other: in each step the one with the lower
Dice loss on the labels teaches the other. Unlabeled voxels get the union of both answers as labels, uncertain ones
among them none; their features are drawn to the prototypes of the certain ones instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from semivox.components.consensus import Union, contested_voxels
from semivox.components.ema import EmaTeacher
from semivox.components.probabilities import Probabilities, flat_log_softmax
from semivox.components.schedules import sigmoid_ramp
from semivox.components.uncertainty import UncertainToPrototype, pseudo_labels
from semivox.components.voxels import confidence_and_class
from semivox.losses.consistency import cosine
from semivox.losses.overlap import dice_fg_sq
from semivox.losses.prototype import PairSign
from semivox.losses.weighted import coverage_weighted_ce, kl_weighted_ce, masked_brier
from semivox.methods.base import Method, MethodConfig, total
from semivox.networks import NETWORKS
from semivox.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from semivox.networks import NetworkFactory
    from semivox.types import Batch, Progress, StepOutput, Task

Term = Literal["reg", "contrast", "unlabeled", "uncertainty", "disagreement"]

SECOND_NETWORK = {2: "resnet34_unet2d", 3: "resnet34_vnet"}


@dataclass(frozen=True, kw_only=True)
class DualNetConfig(MethodConfig):
    """Settings of Dual-Net; values without another source are those of the released training scripts."""

    name: str = "dualnet"
    second_network: str = "auto"
    """The other network: ``auto`` is resnet34_vnet (3D) or resnet34_unet2d (2D); the first one is ``network.name``."""
    disagreement_weight: NonNegativeFloat = 0.5
    """``alpha``, the weight of the squared error on the voxels of the labeled patches that the networks contest."""
    confidence: Fraction = 0.6
    """Least probability of a foreground answer that contests another."""
    percentile: Annotated[float, Ge(0), Le(100)] = 20.0
    """Percentile of the entropy up to which a network is sure, over all unlabeled voxels of the step."""
    unlabeled_weight: NonNegativeFloat = 1.0
    """Weight of the pseudo-label term of both networks."""
    uncertainty_weight: NonNegativeFloat = 1.0
    """Weight of what the loser learns from the winner."""
    unc_dir: Literal["winner", "vnet_to_resnet"] = "winner"
    """Who teaches in the uncertainty term: the winner of the step, or always the first network, as released."""
    unc_detach: bool = False
    """Whether the weight exp(-KL) of the uncertainty term is a constant; it is not in the released code."""
    reg_weight: NonNegativeFloat = 1.0
    """Weight of the cosine distance of the two probability maps."""
    contrast_weight: NonNegativeFloat = 0.1
    """``lambda_c``, the weight of the prototype term at the end of the ramp."""
    candidate_share: Fraction = 0.01
    """Share of the uncertain foreground voxels that is drawn to the prototypes; as many of each class, at least 1."""
    lc_sign: PairSign = "minus"
    """``minus`` drives prototypes apart; ``plus`` adds their distance, which pulls them together, as released."""
    rampup_steps: NonNegativeInt = 6000
    """Step from which the prototype term has its full weight ("length 40" times 150 iterations); 0 is no ramp."""
    ramp_staircase: PositiveInt = 1
    """Steps between two changes of the ramp: 1 is continuous, 150 is what the released code does. Not scaled."""
    teacher: Literal["winner", "fixed", "ema"] = "winner"
    """Who teaches: the winner of the step; always the first network; or the moving average of the winner, and the
    averages of both make the pseudo-labels (ours: the release has an average that it never calls)."""
    ema_decay: Fraction = 0.99
    """Upper bound of the moving average, per step, where ``teacher`` is ``ema``; not scaled to shorter runs."""
    released_bugs: bool = False
    """Leave out the pseudo-label and the prototype term, which have no gradient in the released code."""
    drop: tuple[Term, ...] = ()
    """Terms to leave out, for ablation: reg, contrast, unlabeled, uncertainty, disagreement."""

    def __post_init__(self) -> None:
        """Refuse a second network that is none."""
        if self.second_network not in ("auto", *NETWORKS):
            known = ", ".join(["auto", *NETWORKS])
            raise ValueError(f"second_network = {self.second_network!r} is unknown, expected one of {known}")


class DualNet(Method):
    """Two networks A, B that teach each other.

    ``L = L_s^A + L_s^B + L_u^A + L_u^B + L_unc + L_reg + lambda_c r(t) L_c``, ``L_s = CE + Dice + alpha L_cr``

    - ``L_cr = mean_{v in D} (p_v - y_v)^2`` on the labeled voxels D that the networks contest with confidence.
    - ``L_u = N/|R| CE_R(z, y')``: ``y'`` foreground if either network says so, R the voxels on which at least one
      network's entropy is not above its 20th percentile, N all unlabeled voxels.
    - ``L_unc = mean(exp(-KL) CE(z_S, argmax p_T)) + mean(KL)``, ``KL = sum_k sg[p_T] log(sg[p_T] / p_S)``.
    - ``L_reg = mean(1 - cos(p_A, p_B))``; this and the one before on all voxels.
    - ``L_c``: distance of a sample of S's features outside R to the prototype of the class that S answers (mean
      feature of R where ``y'`` is that class), plus 2 minus the distance of the prototypes, all of unit length.

    Symbols: ``z`` logits, ``p = softmax(z)``; T the network with the lower Dice loss in this step (ties: B), S the
    other; ``sg`` stops the gradient; ``r(t) = exp(-5 (1 - min(t, T)/T)^2)``.

    Deviations: the article could not be read; this is what its abstract, the released scripts and the authors'
    follow-up say. Where the release computes terms without a gradient (``released_bugs``) they have one here.
    """

    Config = DualNetConfig
    profiles = {
        "default": {"network.init": "kaiming"},
        "released": {"data.augmentation": "crop", "optimizer.schedule": "step", "method.unc_dir": "vnet_to_resnet",
                     "method.lc_sign": "plus", "method.ramp_staircase": 150, "method.released_bugs": True},
    }
    config: DualNetConfig

    def __init__(self, config: DualNetConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        dead = {"unlabeled", "contrast"} if config.released_bugs else set()
        self.active = frozenset(get_args(Term)) - set(config.drop) - dead
        automatic = config.second_network == "auto"
        self.first = make_network()
        self.second = make_network(name=SECOND_NETWORK[task.dimensions] if automatic else config.second_network)
        pair = self.first, self.second
        self.averages = nn.ModuleList(EmaTeacher(each, config.ema_decay) for each in pair if config.teacher == "ema")
        if "contrast" in self.active:
            share, sign = config.candidate_share, config.lc_sign
            self.contrast = UncertainToPrototype(*pair, classes=task.classes, share=share, pair_sign=sign)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute all terms from one pass of the batch through each network."""
        config, active = self.config, self.active
        outputs = self.first(batch.image), self.second(batch.image)
        logs = [flat_log_softmax(output.logits) for output in outputs]  # (B, K, V), one for each network
        guides = [flat_log_softmax(average(batch.image).logits) for average in self.averages] or logs
        probs = [each.exp() for each in logs]
        (labeled_a, unlabeled_a), (labeled_b, unlabeled_b) = (batch.split(each) for each in probs)
        label = batch.label.flatten(1)
        (_, answer_a), (_, answer_b) = confidence_and_class(unlabeled_a), confidence_and_class(unlabeled_b)

        dice_a, dice_b = dice_fg_sq(labeled_a, label), dice_fg_sq(labeled_b, label)
        ce_a, ce_b = (functional.nll_loss(batch.split(each)[0], label) for each in logs)
        second_wins = (dice_b <= dice_a) & (config.teacher != "fixed")
        watch = {"second_wins": second_wins, "agreement": _share(answer_a == answer_b)}
        terms: dict[str, tuple[float, Tensor]] = {}
        if "disagreement" in active:
            contested = contested_voxels(labeled_a, labeled_b, config.confidence)  # D
            error = masked_brier(labeled_a, label, contested) + masked_brier(labeled_b, label, contested)
            terms["disagreement"] = (config.disagreement_weight, error)  # L_cr
            watch["contested_share"] = _share(contested)
        if active & {"unlabeled", "contrast"}:
            guide_a, guide_b = (batch.split(each)[1] for each in guides)
            pseudo, reliable = pseudo_labels(guide_a, guide_b, config.percentile)  # y', R
            watch |= {"reliable_share": _share(reliable), "pseudo_foreground": _share(pseudo > 0)}
        if "unlabeled" in active:
            taught_a, taught_b = (coverage_weighted_ce(batch.split(each)[1], pseudo, reliable) for each in logs)
            terms["unlabeled"] = (config.unlabeled_weight, taught_a + taught_b)  # L_u
        if "uncertainty" in active:
            terms["uncertainty"] = (config.uncertainty_weight, self._uncertainty(logs, guides, second_wins))
        if "reg" in active:
            terms["reg"] = (config.reg_weight, cosine(*probs))
        if "contrast" in active:
            ramp = sigmoid_ramp(progress.step, config.rampup_steps, staircase=config.ramp_staircase)  # r(t)
            features = torch.where(second_wins, *(batch.split(output.decoder[-1])[1] for output in outputs))
            drawn = self.contrast(features, torch.where(second_wins, answer_a, answer_b), pseudo, reliable)
            terms["contrast"] = (config.contrast_weight * ramp, drawn)  # L_c
        return total(watch, supervised=ce_a + dice_a + ce_b + dice_b, **terms)

    def after_step(self, progress: Progress) -> None:
        """Move the averages, if there are any, towards the networks."""
        for average, network in zip(self.averages, (self.first, self.second), strict=False):
            cast(EmaTeacher, average).update(network)

    def observed(self) -> dict[str, nn.Module]:
        """Watch the pseudo-labels and each network alone."""
        networks = {"first": Probabilities(self.first), "second": Probabilities(self.second)}
        return {"pseudo_label": Union(*self.averages or (self.first, self.second)), **networks}

    def predictor(self) -> Probabilities:
        """Deploy the mean of both networks' probabilities."""
        return Probabilities(self.first, self.second)

    def _uncertainty(self, logs: Sequence[Tensor], guides: Sequence[Tensor], second_wins: Tensor) -> Tensor:
        """L_unc. The network that is not chosen by ``where`` gets a gradient of exactly zero."""
        second_teaches = second_wins & (self.config.unc_dir == "winner")
        student = torch.where(second_teaches, logs[0], logs[1])
        teacher = torch.where(second_teaches, guides[1].detach(), guides[0].detach())
        return kl_weighted_ce(student, teacher, detach_weight=self.config.unc_detach)


def _share(mask: Tensor) -> Tensor:
    return mask.float().mean()
