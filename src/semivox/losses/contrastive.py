"""Contrastive losses of feature vectors. None of them detaches anything: a method says itself what is a target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(anchor: Tensor, positive: Tensor, negative: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of each anchor with one positive and N negatives (CRLN, Eq. 14; ReCo).

    ``-log( e^{cos(a, p)/t} / (e^{cos(a, p)/t} + sum_n e^{cos(a, n)/t}) )``, not reduced over anchors.

    Args:
        anchor: (C, A, D), A anchors of each of C classes.
        positive: (C, D), one for all anchors of a class.
        negative: (C, N, D), the same for all anchors of a class, or (C, A, N, D), some for each.
        temperature: t > 0.

    Returns:
        (C, A) float32, between ``log(1 + N e^{-2/t})`` and ``log(1 + N e^{2/t})``. A vector of zeros has cosine 0.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        vectors = (functional.normalize(each.float(), dim=-1) for each in (anchor, positive, negative))
        anchor, positive, negative = vectors
        near = (anchor @ positive.unsqueeze(-1)).squeeze(-1)
        far = anchor @ negative.mT if negative.dim() == 3 else (negative @ anchor.unsqueeze(-1)).squeeze(-1)
        cosines = torch.cat((near.unsqueeze(-1), far), -1) / temperature
        return cosines.logsumexp(-1) - near / temperature
