"""Pseudo-labels corrected by a second opinion: the ways in which CRLN adds the prototypes' class map."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from semivox.components.prototypes import PrototypeNetwork

RectifyMode = Literal["logit", "prob_norm", "prob_raw", "replace", "concat"]
StrengthParameter = Literal["raw", "sigmoid"]

_LARGEST_RAW = 1 - 1e-4
"""A sigmoid reaches neither 0 nor 1, so its start is kept off them."""


class Rectification(nn.Module):
    """Combine logits z with a class map m (logits) of the same image (CRLN, Eq. 7, 8 and 17).

    ======== ==============================================================================================
    mode     rectified scores, with p = softmax(z), q = softmax(m)
    ======== ==============================================================================================
    logit     ``softmax(z + (1 - mu) m)``
    prob_norm ``(p + (1 - mu) q) / (2 - mu)``
    prob_raw  ``p + (1 - mu) q``, the literal sum: the argmax of prob_norm, a "confidence" up to ``2 - mu``
    replace   q where ``max p < tau <= max q``, else p; nothing is learned
    concat    ``softmax`` of a 1x1x1 convolution of (z, m), which at the start returns z
    ======== ==============================================================================================

    Args:
        mode: one of the above.
        classes: K.
        dimensions: 2 or 3.
        start: mu at the start, 0..1 (the class map counts ``1 - mu``).
        parameter: ``"raw"`` learns mu itself and needs :meth:`project` after each update; ``"sigmoid"`` learns its
            logit.
        threshold: tau, for ``replace``.
    """

    def __init__(
        self,
        mode: RectifyMode = "logit",
        *,
        classes: int,
        dimensions: int,
        start: float = 0.1,
        parameter: StrengthParameter = "raw",
        threshold: float = 0.97,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.parameter = parameter
        self.threshold = threshold
        if mode == "concat":
            convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
            self.combine = convolution(2 * classes, classes, 1)
            start_weights = {"weight": torch.eye(classes, 2 * classes), "bias": torch.zeros(classes)}
            with torch.no_grad():
                for name, values in self.combine.named_parameters():
                    values.copy_(start_weights[name].view_as(values))
        elif mode != "replace":
            inside = min(max(start, 1 - _LARGEST_RAW), _LARGEST_RAW)
            self.strength = nn.Parameter(torch.tensor(start if parameter == "raw" else math.log(inside / (1 - inside))))

    @property
    def learned(self) -> bool:
        """Whether there is anything to learn (not in mode ``replace``)."""
        return self.mode != "replace"

    @property
    def mu(self) -> Tensor | None:
        """The scalar mu in [0, 1], or None in a mode without it."""
        if self.mode in {"replace", "concat"}:
            return None
        return self.strength.sigmoid() if self.parameter == "sigmoid" else self.strength

    def forward(self, logits: Tensor, opinion: Tensor) -> Tensor:
        """Rectified logits (B, K, *space): their softmax is the rectified distribution (normalized in ``prob_raw``).

        Args:
            logits: z, (B, K, *space).
            opinion: m, the same shape.
        """
        if self.mode == "concat":
            with torch.autocast(logits.device.type, enabled=False):  # confidences near 1 need float32
                combined: Tensor = self.combine(torch.cat((logits, opinion), 1).to(self.combine.weight.dtype))
            return combined.float()
        mu = self.mu
        if mu is None:
            return self._replaced(logits.float(), opinion.float())
        logits, opinion = logits.float(), opinion.float()
        if self.mode == "logit":
            return logits + (1 - mu) * opinion
        mixed = (logits.softmax(1) + (1 - mu) * opinion.softmax(1)) / (2 - mu)
        return mixed.clamp(min=torch.finfo(mixed.dtype).tiny).log()

    @torch.no_grad()
    def scores(self, logits: Tensor, opinion: Tensor) -> Tensor:
        """What confidence and pseudo-label are read from, (B, K, *space); without gradient.

        Sums to 1 over the classes, except in ``prob_raw``, where it sums to ``2 - mu``.
        """
        rectified: Tensor = self(logits, opinion).softmax(1)
        mu = self.mu
        return rectified * (2 - mu) if self.mode == "prob_raw" and mu is not None else rectified

    def watched(self) -> dict[str, Tensor]:
        """What to log: mu by its name, in a mode that has it."""
        mu = self.mu
        return {} if mu is None else {"mu": mu}

    @torch.no_grad()
    def project(self) -> None:
        """Put mu back into [0, 1]: once after each optimizer step."""
        if self.mu is not None and self.parameter == "raw":
            self.strength.clamp_(0, 1)

    def _replaced(self, logits: Tensor, opinion: Tensor) -> Tensor:
        unsure = logits.softmax(1).amax(1, keepdim=True) < self.threshold
        sure = opinion.softmax(1).amax(1, keepdim=True) >= self.threshold
        return torch.where(unsure & sure, opinion, logits)


class RectifiedProbabilities(nn.Module):
    """The rectified answer of a prototype network as probabilities, to be watched beside the plain one."""

    def __init__(self, network: PrototypeNetwork, rectification: Rectification) -> None:
        super().__init__()
        self.network = network
        self.rectification = rectification

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to probabilities (B, K, *space) that sum to 1."""
        output, opinion = self.network(image)
        rectified: Tensor = self.rectification(output.logits, opinion).softmax(1)
        return rectified
