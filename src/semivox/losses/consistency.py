"""Losses between two predictions. None of them detaches anything: a method says itself what is a target."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_SMALLEST = 1e-16
"""Least squared length that is not taken for zero."""


def mse(probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over voxels and classes: ``mean_{b,k,v} (p_bkv - q_bkv)^2``.

    The classes count in the mean, as in the code of UA-MT; with K = 2 this is the squared difference of the foreground
    probability. A sum over classes is K times as much.

    Args:
        probabilities: p, (B, K, *space).
        target: q, the same shape.

    Returns:
        Scalar float32.
    """
    return functional.mse_loss(probabilities.float(), target.float())


def kl(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence, mean over voxels: ``mean_{b,v} sum_k q_bkv (log q_bkv - log softmax(z)_bkv)``.

    Args:
        logits: z, (B, K, *space).
        target: probabilities q, the same shape; zeros are allowed and count nothing.

    Returns:
        Scalar float32, >= 0.
    """
    log_probabilities = logits.float().log_softmax(1)
    voxels = target.numel() // target.shape[1]
    return functional.kl_div(log_probabilities, target.float(), reduction="sum") / voxels


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """One minus the cosine over axis 1, mean over voxels: ``mean_{b,v} (1 - <a_bv, b_bv> / (|a_bv| |b_bv|))``.

    A vector of zeros has cosine 0 with every other. One reciprocal root for both lengths: several times as fast as
    PyTorch's ``cosine_similarity`` over an axis of a few classes.

    Args:
        first: a, (B, K, *space) probabilities or (B, D, *space) features.
        second: b, the same shape.

    Returns:
        Scalar float32, in [0, 2]; in [0, 1] for probabilities.
    """
    one, other = first.float(), second.float()
    squares = one.square().sum(1).clamp(min=_SMALLEST) * other.square().sum(1).clamp(min=_SMALLEST)
    return 1 - ((one * other).sum(1) * squares.rsqrt()).mean()
