"""CML: Wu et al., "Cross-View Mutual Learning for Semi-Supervised Medical Image Segmentation", ACM MM 2024.

Two networks are pushed to see a scan differently (their deepest features should not point in the same direction) and
taught to agree on what they see: on two unlabeled scans spliced by CutMix, each learns from the other's pseudo-label
outside the pasted box and from its own inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from semivox.components.mixing import box_mask, mix_halves
from semivox.components.peers import FilteredLabels, peer_labels_later, unused_decoder
from semivox.components.probabilities import Probabilities
from semivox.losses.discrepancy import discrepancy
from semivox.losses.overlap import dice_mean_lin
from semivox.losses.supervised import ce_dice
from semivox.methods.base import Method, MethodConfig, total
from semivox.networks import OTHER, NetworkFactory
from semivox.networks.features import encoder_widths
from semivox.settings import Fraction, FractionBelowOne, NonNegativeFloat
from semivox.types import Stage

if TYPE_CHECKING:
    from semivox.networks.output import Output
    from semivox.types import Batch, Progress, StepOutput, Task

    View = tuple[Output, Output]
    """What network 0 and network 1 say about the same images."""


@dataclass(frozen=True, kw_only=True)
class CMLConfig(MethodConfig):
    """Settings of CML; the values are the paper's for the left atrium."""

    name: str = "cml"
    unlabeled_weight: NonNegativeFloat = 1.0
    """``lambda_1``, weight of the pseudo-labeled term (paper: 1; 0.5 on ACDC). There is no ramp."""
    dis_weight: NonNegativeFloat = 0.2
    """``lambda_2``, weight of the conflict term (paper: 0.2; 0.1 on ACDC)."""
    box_fraction: Fraction = 2 / 3
    """``beta``, side of the pasted box over side of the patch (paper: 2/3; 1/2 on ACDC)."""
    pretrain_share: FractionBelowOne = 2000 / 17000
    """Share of the run's steps that pre-trains on labeled scans alone (released: 2000 of 17000 on the left atrium,
    10000 of 40000 on ACDC and BraTS); 0 leaves the stage out."""
    pretrain_pick: Literal["last", "best_validation"] = "last"
    """Pre-trained weights that self-training starts from: the last, or those with the best Dice on the validation
    cases (released: the best on the test set, which is not offered)."""
    fuse: Literal["probabilities", "logits"] = "probabilities"
    """What is averaged over the two networks for a prediction: probabilities (paper) or logits (released)."""
    test_lcc: bool = False
    """Whether predictions keep only the largest component of each class (released on the left atrium: yes)."""
    pl_eval_mode: bool = False
    """Whether pseudo-labels come from networks without dropout and with running statistics (released: no)."""
    dis_flatten: bool = False
    """Whether the conflict is one cosine for each sample, over channels and positions together, instead of one over
    the channels at each position (released); the paper leaves it open."""
    mask_per_sample: bool = False
    """Whether each spliced sample has its own box instead of one for all (released)."""
    shared_debug: bool = False
    """Whether both passes go through one encoder and one decoder, with an unused second decoder: the error in the code
    released for ACDC. To study that code, not to train with."""
    drop: tuple[Literal["dis", "unlabeled", "cutmix"], ...] = ()
    """Parts left out: the conflict term, the pseudo-labeled term, the splicing (whole patches, peer's labels)."""

    @property
    def largest_component(self) -> bool:
        """Whether predictions keep the largest component of each class alone."""
        return self.test_lcc


class CML(Method):
    """Two peers, one with each kind of decoder, in conflict about features and in agreement about labels.

    ``l(z, y) = (CE(z, y) + Dice(softmax z, y)) / 2``, ``D(f, g) = 1 + mean cos(f, sg[g])``                (Eq. 1)

    ``L_dis(x) = D(f_0, f_1) + D(f_1, f_0)``, ``f_i`` the deepest encoder map of network i on x

    ``mix(a, b, M) = a M + b (1 - M)``; ``x_l = mix(a, b, M)``, ``y_l = mix(y_a, y_b, M)`` of the labeled halves a, b

    ``x_u = mix(p, q, M')``, ``T_i = mix(Y_{1-i}(p), Y_i(q), M')``, ``Y_i = LCC(argmax z_i)`` without gradient

    ``L = sum_i l(z_i(x_l), y_l) + lambda_1 sum_i l(z_i(x_u), T_i) + lambda_2 (L_dis(x_l) + L_dis(x_u))``

    The stage ``pretrain`` has the first term and ``lambda_2 L_dis(x_l)`` only. Symbols: ``p, q`` halves of the
    unlabeled patches; ``M, M'`` 1 with one box of zeros; ``LCC`` largest connected component of each class;
    ``sg`` no gradient. Dice is per sample and class, background included.

    Deviations: the peers are two networks on ACDC too (released: one, by mistake, see ``shared_debug``); self-training
    starts from the last pre-trained weights (released: the best on the test set); predictions are not filtered
    (``test_lcc``) and average probabilities (``fuse``).
    """

    Config = CMLConfig
    published_steps = 17000
    samples_multiple = 2
    profiles = {
        "default": {"data.labeled_per_batch": 4, "data.unlabeled_per_batch": 4},
        "paper": {"optimizer.schedule": "constant"},
        "released": {"optimizer.schedule": "step", "method.fuse": "logits", "method.test_lcc": True},
    }
    config: CMLConfig

    def __init__(self, config: CMLConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        self.first, self.second = make_network(), make_network(decoder=OTHER)
        if "dis" not in config.drop:
            encoder_widths(self.first, needed_by="cml")  # refuses a network without encoder maps
        if config.shared_debug:
            self.second = unused_decoder(self.second)

    @classmethod
    def stages(cls, config: CMLConfig) -> tuple[Stage, ...]:
        """Pre-training at the initial learning rate, then self-training with the configured schedule."""
        pretrain = Stage("pretrain", config.pretrain_share, schedule="constant", pick=config.pretrain_pick)
        selftrain = Stage("selftrain", 1 - config.pretrain_share)
        return (pretrain, selftrain) if config.pretrain_share else (selftrain,)

    @property
    def peers(self) -> tuple[nn.Module, nn.Module]:
        """Network 0 and network 1."""
        return self.first, self.first if self.config.shared_debug else self.second

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute the loss of a pre-training step (stage ``pretrain``) or of a self-training step (any other)."""
        config = self.config
        mask = self._mask(batch.labeled_image)  # M
        label = mix_halves(batch.label, batch.label, mask)  # y_l
        if progress.stage == "pretrain" or {"dis", "unlabeled"} <= set(config.drop):
            labeled = self._look_at(batch.labeled_image, mask)  # z_i(x_l), f_i(x_l)
            return total({}, supervised=_teach(labeled, label, label), **self._conflict(labeled))

        mask_u = self._mask(batch.unlabeled_image)  # M'
        wanted = "unlabeled" not in config.drop
        begun = peer_labels_later(self.peers, batch.unlabeled_image, deployed=config.pl_eval_mode) if wanted else None
        labeled = self._look_at(batch.labeled_image, mask)
        unlabeled = self._look_at(batch.unlabeled_image, mask_u)  # z_i(x_u), f_i(x_u)
        terms = self._conflict(labeled, unlabeled)
        watch: dict[str, Tensor] = {}
        if begun:
            first, second, watch = begun()  # Y_0, Y_1
            targets = mix_halves(second, first, mask_u), mix_halves(first, second, mask_u)  # T_0, T_1
            terms["unlabeled"] = (config.unlabeled_weight, _teach(unlabeled, *targets))
        return total(watch, supervised=_teach(labeled, label, label), **terms)

    def _mask(self, image: Tensor) -> Tensor | None:
        """A new mask for the halves of ``image``; None leaves them unmixed."""
        if "cutmix" in self.config.drop:
            return None
        samples = len(image) // 2 if self.config.mask_per_sample else 1
        return box_mask(image.shape[2:], self.config.box_fraction, samples=samples, like=image)

    def _look_at(self, image: Tensor, mask: Tensor | None) -> View:
        mixed = mix_halves(image, image, mask)
        first, second = self.peers
        return first(mixed), second(mixed)

    def _conflict(self, *views: View) -> dict[str, tuple[float, Tensor]]:
        """``lambda_2`` and the sum of ``L_dis`` over the views; empty if it is dropped."""
        if "dis" in self.config.drop:
            return {}
        terms = []
        for first, second in views:
            f, g = first.encoder[-1], second.encoder[-1]
            terms += [discrepancy(*pair, flatten=self.config.dis_flatten) for pair in ((f, g), (g, f))]
        return {"dis": (self.config.dis_weight, torch.stack(terms).sum())}

    def predictor(self) -> nn.Module:
        """Deploy the mean of both networks."""
        networks = dict.fromkeys(self.peers)  # a shared network is asked once
        return Probabilities(*networks, average=self.config.fuse)

    def observed(self) -> dict[str, nn.Module]:
        """The filtered labels of each network, with which it teaches the other (but without dropout)."""
        first, second = self.peers
        return {"pseudo_label": FilteredLabels(first), "peer_label": FilteredLabels(second)}


def _teach(view: View, first: Tensor, second: Tensor) -> Tensor:
    """``l(z_0, first) + l(z_1, second)``."""
    (z_0, z_1), dice = (output.logits for output in view), dice_mean_lin
    return ce_dice(z_0, first, dice=dice) + ce_dice(z_1, second, dice=dice)
