"""CAML: Gao et al., "Correlation-Aware Mutual Learning for Semi-supervised Medical Image Segmentation", MICCAI 2023.

Two networks teach each other; one of them lets the scans of a batch attend to each other, so that labeled content
reaches unlabeled features. Both must see a sure unlabeled voxel alike, compared with remembered labeled ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import Module

from semivox.components.attention import AttendingProbabilities, CrossSampleAttention
from semivox.components.heads import EmbeddingHead
from semivox.components.memory import FeatureBank
from semivox.components.probabilities import Probabilities
from semivox.components.schedules import sigmoid_ramp
from semivox.components.sharpening import sharpen
from semivox.components.voxels import confidence_and_class, features_at, top_per_class
from semivox.losses.consistency import mse
from semivox.losses.correlation import Similarity, correlation_rows, omni_correlation
from semivox.losses.overlap import dice_fg_lin
from semivox.losses.supervised import ce_dice, cross_entropy
from semivox.methods.base import Method, MethodConfig, total
from semivox.networks import OTHER, NetworkFactory
from semivox.networks.features import decoder_widths, encoder_widths
from semivox.settings import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from semivox.types import Batch, Progress, StepOutput, Task


@dataclass(frozen=True, kw_only=True)
class CAMLConfig(MethodConfig):
    """Settings of CAML; unless said otherwise those of the released code and its logs."""

    name: str = "caml"
    supervised_weight: NonNegativeFloat = 0.5
    """Factor of ``L_s``, the sum over both networks."""
    cross_weight: NonNegativeFloat = 1.0
    """``l_c``, the weight of the cross supervision at the end of the ramp."""
    occ_weight: NonNegativeFloat = 0.05
    """``l_o``, the weight of the omni-correlation consistency at the end of the ramp (paper: 0.1)."""
    rampup_steps: NonNegativeInt = 3000
    """Step of 15,000 from which both weights are full: 3000 for 8 labeled scans, 6000 for 4 and 2250 for 16 in the
    published logs; 0 is no ramp."""
    ramp_staircase: PositiveInt = 1
    """Steps between two changes of the ramp: 1 is continuous, 150 is what the released code does; not scaled."""
    sup: Literal["dice_fg_lin", "ce_dice"] = "dice_fg_lin"
    """Supervised loss of a network: foreground Dice alone (released), or (CE + that Dice) / 2 (the paper points to
    cross-entropy)."""
    cross: Literal["sharp_mse", "cps_ce"] = "sharp_mse"
    """Cross supervision: mean squared error to the peer's sharpened answer (released), or cross-entropy to its argmax
    (CPS, which the paper cites)."""
    cross_detach: bool = False
    """Whether the sharpened answer is a constant; released code lets the gradient through."""
    sharpening_temperature: Annotated[float, Ge(0.01), Le(1)] = 0.1
    """``T`` of the sharpening; 1 sharpens nothing."""
    occ_sim: Similarity = "dot"
    """Similarity of embeddings: ``dot`` product (released, and what the published logs fit), or ``cosine`` (paper)."""
    occ_temperature: PositiveFloat = 10.0
    """``t``, by which the similarity is multiplied."""
    occ_detach_target: bool = False
    """Whether the auxiliary network's similarities are a constant; released code lets the gradient through."""
    occ_pred_head: bool = True
    """Whether unlabeled voxels pass a prediction head after the projection (released; the paper has none)."""
    embed_dim: PositiveInt = 64
    """Channels of an embedding (paper); the public code builds 32."""
    prototypes_per_class: PositiveInt = 256
    """``j``: remembered vectors of a class in a step; a class with fewer gives none."""
    rows_per_class: PositiveInt = 12_800
    """``i``: largest number of unlabeled voxels of a class in a step; all of them if there are fewer."""
    bank_cap: PositiveInt = 32_768
    """Remembered vectors of a labeled case, shared evenly by the classes (ours): 16,384 for each of two classes, with
    64 channels 4 MiB a case. Room for ``prototypes_per_class`` of each class there is in any case."""
    drop: tuple[Literal["occ", "cma", "cross"], ...] = ()
    """Ablation: omni-correlation, cross-sample attention and cross supervision can be left out."""


class CAML(Method):
    """Mutual learning of two networks with cross-sample attention and omni-correlation consistency.

    ``L = 0.5 L_s + l_c r(t) L_c + l_o r(t) L_o``                                                     (Eq. 1)

    ``L_s = Dice(p_v, y) + Dice(p_a, y)`` over labeled, ``L_c = MSE(p_v, sh(p_a)) + MSE(p_a, sh(p_v))`` over all voxels

    ``L_o = -1/m sum_r <S_a[r], log S_v[r]>``, ``S[r] = softmax(t k(q_r, z))``                        (Eq. 2-4)

    Symbols: ``p_v, p_a`` probabilities of the vanilla and the auxiliary network; ``sh(q) = q^10/(q^10 + (1-q)^10)``;
    ``q = h(g(e))`` embeddings of the m unlabeled voxels on whose class both agree, in each class those of which ``p_v``
    is surest; ``z`` vectors drawn from the bank, which holds ``(g_v(e_v) + g_a(e_a)) / 2`` of the labeled voxels that
    both get right; ``e`` finest decoder map; ``k`` dot product; ``r(t)`` ramp. Attention acts on x4 of the auxiliary.

    Deviations: the bank keeps a uniform sample of a case's voxels and their true number, where released code keeps all.
    """

    Config = CAMLConfig
    published_steps = 15_000
    profiles = {
        "default": {},
        "paper": {"optimizer.schedule": "constant", "method.sup": "ce_dice", "method.cross": "cps_ce",
                  "method.occ_sim": "cosine", "method.occ_pred_head": False, "method.occ_weight": 0.1},
        "released": {"optimizer.schedule": "constant", "method.ramp_staircase": 150, "method.embed_dim": 32},
    }  # fmt: skip
    config: CAMLConfig

    def __init__(self, config: CAMLConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        self.vanilla = make_network()
        widths = encoder_widths(self.vanilla, needed_by="caml")
        mid = None if "cma" in config.drop else CrossSampleAttention(widths[3])
        self.auxiliary = make_network(decoder=OTHER, mid=mid)
        if "occ" not in config.drop:
            inputs, width = decoder_widths(self.vanilla, needed_by="caml")[-1], config.embed_dim
            self.vanilla_head = EmbeddingHead(inputs, width, predict=config.occ_pred_head)
            self.auxiliary_head = EmbeddingHead(inputs, width, predict=config.occ_pred_head)
            self.auxiliary_head.requires_grad_(not config.occ_detach_target)  # nothing else reaches it
            capacity = max(config.bank_cap // task.classes, config.prototypes_per_class)
            self.bank = FeatureBank(task.labeled_cases, task.classes, capacity, width)

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute Eq. 1; the bank takes up the labeled samples before it is drawn from."""
        config = self.config
        vanilla, auxiliary = self.vanilla(batch.image), self.auxiliary(batch.image)
        p_v, p_a = vanilla.logits.softmax(1), auxiliary.logits.softmax(1)
        (confidence, answer), (_, other) = confidence_and_class(p_v), confidence_and_class(p_a)
        agree = answer == other
        watch = {"agreement": batch.split(agree)[1].float().mean(), "confidence": batch.split(confidence)[1].mean()}

        ramp = sigmoid_ramp(progress.step, config.rampup_steps, staircase=config.ramp_staircase)  # r(t)
        supervised = self._supervised(vanilla.logits, p_v, batch) + self._supervised(auxiliary.logits, p_a, batch)
        terms = {"supervised": (config.supervised_weight, supervised)}  # L_s
        if "cross" not in config.drop:
            cross = self._follow(vanilla.logits, p_v, p_a) + self._follow(auxiliary.logits, p_a, p_v)
            terms["cross"] = (config.cross_weight * ramp, cross)  # L_c
        if "occ" not in config.drop:
            maps = (vanilla.decoder[-1], auxiliary.decoder[-1])  # e_v, e_a
            self._remember(batch, maps, (batch.split(answer)[0] == batch.label) & batch.split(agree)[0])
            occ, rows = self._correlate(batch, maps, confidence, torch.where(agree, answer, -1))
            terms["occ"] = (config.occ_weight * ramp, occ)  # L_o
            watch |= {"bank_fill": self.bank.fill(), "occ_rows": rows}
        return total(watch, **terms)  # Eq. 1

    def _supervised(self, logits: Tensor, probabilities: Tensor, batch: Batch) -> Tensor:
        """Loss of a network on the labeled samples."""
        if self.config.sup == "ce_dice":
            return ce_dice(batch.split(logits)[0], batch.label, dice=dice_fg_lin)
        return dice_fg_lin(batch.split(probabilities)[0], batch.label)

    def _follow(self, logits: Tensor, probabilities: Tensor, peer: Tensor) -> Tensor:
        """Loss of a network against its peer's probabilities, on all samples."""
        if self.config.cross == "cps_ce":
            return cross_entropy(logits, confidence_and_class(peer)[1])
        peer = peer.detach() if self.config.cross_detach else peer
        return mse(probabilities, sharpen(peer, self.config.sharpening_temperature))

    @torch.no_grad()
    def _remember(self, batch: Batch, maps: tuple[Tensor, Tensor], right: Tensor) -> None:
        """Overwrite the slots of this batch's labeled cases with voxels that both networks get right."""
        score = torch.rand_like(right, dtype=torch.float32)  # the choice is uniform
        score, label, right = (values.flatten(1) for values in (score, batch.label, right))
        chosen = top_per_class(score, label, right, classes=self.task.classes, limit=self.bank.capacity)
        first, second = (features_at(features, chosen.position) for features in maps)
        vectors = (self.vanilla_head.remembered(first) + self.auxiliary_head.remembered(second)) / 2
        self.bank.write(batch.split(batch.case)[0], vectors, chosen.members)

    def _correlate(
        self, batch: Batch, maps: tuple[Tensor, Tensor], confidence: Tensor, answer: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L_o of the surest unlabeled voxels (Eq. 2-4), and their number m; ``answer`` is -1 without agreement."""
        config = self.config
        score, label = (batch.split(values)[1].reshape(1, -1) for values in (confidence, answer))
        chosen = top_per_class(score, label, label >= 0, classes=self.task.classes, limit=config.rows_per_class)
        prototypes, drawn = self.bank.draw(config.prototypes_per_class)
        counted = (chosen.valid & (chosen.members > 1).unsqueeze(2) & drawn.any()).flatten()
        position = chosen.position.flatten() + batch.label.numel()  # behind the labeled samples
        first, second = (features_at(features, position) for features in maps)
        queries, targets = self.vanilla_head(first, counted), self.auxiliary_head(second, counted)  # q_v, q_a
        targets = targets.detach() if config.occ_detach_target else targets
        kind: dict[str, Any] = {"similarity": config.occ_sim, "temperature": config.occ_temperature}
        compare = partial(correlation_rows, prototypes=prototypes, drawn=drawn, **kind)  # S
        return omni_correlation(queries, targets, counted, compare), counted.sum()

    def observed(self) -> dict[str, Module]:
        """The auxiliary network, which teaches the deployed one, with its attention."""
        return {"pseudo_label": AttendingProbabilities(self.auxiliary)}

    def predictor(self) -> Probabilities:
        """Deploy the vanilla network alone."""
        return Probabilities(self.vanilla)
