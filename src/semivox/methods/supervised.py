"""Supervised training on the labeled scans alone: the bound that every semi-supervised method is held against.

``L = (CE + Dice) / 2`` (Milletari, Navab & Ahmadi, "V-Net", 3DV 2016, introduced the soft Dice term; the sum with
cross-entropy is the usual loss of semi-supervised segmentation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from semivox.components.probabilities import Probabilities
from semivox.losses.supervised import ce_dice
from semivox.methods.base import Method, MethodConfig, total

if TYPE_CHECKING:
    from semivox.networks import NetworkFactory
    from semivox.types import Batch, Progress, StepOutput, Task


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(MethodConfig):
    """Supervised training has nothing to set beyond the network and the optimizer."""

    name: str = "supervised"


class Supervised(Method):
    """Lower bound with few labels, upper bound with all.

    ``L = (CE(f(x_l), y_l) + Dice(f(x_l), y_l)) / 2`` with the Dice of the foreground classes, squared
    denominators and sums over the whole labeled batch (UA-MT's and SSL4MIS' choice).

    Unlabeled images that a batch may hold are ignored: the network does not see them.
    """

    Config = SupervisedConfig
    uses_unlabeled = False

    def __init__(self, config: SupervisedConfig, make_network: NetworkFactory, task: Task) -> None:
        super().__init__(config, make_network, task)
        self.network = make_network()

    def forward(self, batch: Batch, progress: Progress, turn: str = "main") -> StepOutput:
        """Compute the supervised loss of the labeled samples."""
        return total(supervised=ce_dice(self.network(batch.labeled_image).logits, batch.label))

    def predictor(self) -> Probabilities:
        """Deploy the network."""
        return Probabilities(self.network)
