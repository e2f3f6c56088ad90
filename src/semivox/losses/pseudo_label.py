"""Losses against labels that were not given by a person, from logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def confident_cross_entropy(logits: Tensor, label: Tensor, confident: Tensor) -> Tensor:
    """Cross-entropy of the confident voxels, divided by the number of all voxels (FixMatch; CRLN, Eq. 2).

    ``-(1 / V) sum_v 1[v confident] log softmax(z_v)[y_v]``

    Args:
        logits: z, (B, K, *space).
        label: y, (B, *space) integers 0..K-1.
        confident: (B, *space) boolean.

    Returns:
        Scalar float32, 0 where nothing is confident.
    """
    values = functional.cross_entropy(logits.float(), label.long(), reduction="none")
    return (confident * values).mean()
