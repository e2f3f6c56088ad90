"""The one record that every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What a segmentation network returns. Shapes: B batch, K classes, D channels of a feature map."""

    logits: Tensor
    """(B, K, *space) float32, also when the network computes in bfloat16."""
    encoder: tuple[Tensor, ...]
    """Encoder maps (B, D, *smaller) x1..x5, finest first; empty where a network does not expose them."""
    decoder: tuple[Tensor, ...]
    """Decoder maps x6..x9, coarsest first; the last one has the image's size and is taken after dropout."""
