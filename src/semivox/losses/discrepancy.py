"""How much two networks look at a scan alike: small when their features point in different directions (CML)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def discrepancy(features: Tensor, other: Tensor, *, flatten: bool = False) -> Tensor:
    """``D(f, g) = 1 + mean_{b,v} cos(f_bv, sg[g_bv])``, cosine over the channels at each position (CML, Eq. 1).

    A vector shorter than 1e-6 counts as cosine 0. No gradient reaches ``other``.

    Args:
        features: f, (B, D, *space), learns.
        other: g, the same shape, is a constant.
        flatten: one cosine for each sample, over channels and positions together.

    Returns:
        Scalar float32 in [0, 2]; in [1, 2] for features without negative values (after a ReLU).
    """
    mine, theirs = features.float(), other.detach().float()
    if flatten:
        mine, theirs = mine.flatten(1), theirs.flatten(1)
    mine, theirs = functional.normalize(mine, dim=1, eps=1e-6), functional.normalize(theirs, dim=1, eps=1e-6)
    return 1 + (mine * theirs).sum(1).mean()
