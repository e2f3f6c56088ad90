"""Cross-sample mutual attention: positions of a volume attend to each other, then volumes of the batch do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from semivox.components.dropped_attention import attend


class CrossSampleAttention(nn.Module):
    """Cross-sample mutual attention (CMA) of CAML (MICCAI 2023), for maps of two and three dimensions.

    Two post-norm transformer encoder layers with PyTorch's defaults: ``h = LN(t + MSA(t))``,
    ``t' = LN(h + W2 ReLU(W1 h))``. In the first the sequence is the positions of one sample, in the second it is the
    samples of the batch at one position. There is no positional encoding. In evaluation mode the module is the
    identity, so what a network predicts does not depend on the other scans of the batch.

    A layer has ``12 d^2 + 13 d`` parameters: 198,272 at ``d = 128``.

    Args:
        channels: d, of the map; a multiple of ``heads``.
        heads: attention heads.
        dropout: of the attention weights, the hidden units and both residual branches.
    """

    def __init__(self, channels: int, *, heads: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        self.intra = _layer(channels, heads, dropout)
        self.inter = _layer(channels, heads, dropout)
        self.attends = False  # in evaluation mode too: set by AttendingProbabilities alone

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, d, *space) to the same shape, type and memory format."""
        if not (self.training or self.attends):
            return features
        tokens = encode(self.intra, features.flatten(2).transpose(1, 2))  # (B, positions, d): sequence of positions
        tokens = encode(self.inter, tokens.transpose(0, 1))  # (positions, B, d): sequence of samples
        attended = tokens.permute(1, 2, 0).view(features.shape)
        return torch.empty_like(features).copy_(attended)  # the layers' norms leave bfloat16 and the memory format


class AttendingProbabilities(nn.Module):
    """Probabilities of a network with cross-sample attention as it teaches: the attention is on in evaluation mode too.

    Without it the features that follow are not those that the network was trained with. What is said about an image
    then depends on the other images of the batch, so this is for watching a training, not for prediction.

    Args:
        network: its output has ``logits``; without such an attention in it nothing is special.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, *space) to probabilities (B, K, *space)."""
        attentions = [module for module in self.network.modules() if isinstance(module, CrossSampleAttention)]
        for attention in attentions:
            attention.attends = True
        try:
            probabilities: Tensor = self.network(image).logits.softmax(1)
        finally:
            for attention in attentions:
                attention.attends = False
        return probabilities


def encode(layer: nn.TransformerEncoderLayer, tokens: Tensor) -> Tensor:
    """What the layer makes of sequences (B, T, d), with :func:`semivox.components.dropped_attention.attend`.

    Args:
        layer: post-norm, batch first, ReLU.
        tokens: (B, T, d).
    """
    attention = layer.self_attn
    projected = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.view(*tokens.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    attended = attend(query, key, value, dropout=attention.dropout if layer.training else 0.0)  # (B, H, T, d / H)
    # positions first in memory, as in PyTorch's layer: dropout draws in the order of memory
    attended = attention.out_proj(attended.permute(2, 0, 1, 3).flatten(2)).transpose(0, 1)
    tokens = layer.norm1(tokens + layer.dropout1(attended))
    hidden = layer.linear2(layer.dropout(functional.relu(layer.linear1(tokens))))
    encoded: Tensor = layer.norm2(tokens + layer.dropout2(hidden))
    return encoded


def _layer(channels: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout, batch_first=True)
