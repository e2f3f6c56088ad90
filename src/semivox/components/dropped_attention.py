"""Attention with dropout on a CPU, block by block: PyTorch's own makes many full matrices of weights in float32.

With 1960 positions, 4 heads and 4 samples (CAML, patches of 112x112x80) a matrix of weights has 61 million entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_LEAST_POSITIONS = 256
"""Shorter sequences are left to PyTorch."""
_BLOCK_ROWS = 256
"""Queries that are worked on at a time: their weights stay in the processor's cache."""
_LEVELS = 256
"""A random byte decides about a weight."""


def attend(query: Tensor, key: Tensor, value: Tensor, *, dropout: float) -> Tensor:
    """``drop(softmax(q k^T / sqrt(d))) v``, as ``scaled_dot_product_attention``.

    On a CPU, with dropout and long sequences, the weights are computed in float32 in blocks of queries and once more
    for the gradient; the probability of dropping is rounded to a multiple of 1/256.

    Args:
        query: (B, H, T, d), any floating type.
        key: the same shape.
        value: the same shape.
        dropout: probability that a weight is dropped; 0 in evaluation.

    Returns:
        The shape and type of ``query``.
    """
    dropped = round(dropout * _LEVELS)
    if query.device.type != "cpu" or query.shape[2] < _LEAST_POSITIONS or not 0 < dropped < _LEVELS:
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):
        attended: Tensor = _Dropped.apply(query, key, value, dropped)  # type: ignore[no-untyped-call]
    return attended


class _Dropped(torch.autograd.Function):
    """Forward keeps the random bytes and the logarithm of each row's sum, backward computes the weights anew."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, dropped: int) -> Tensor:
        """Attend head by head, in blocks of queries."""
        scale = query.shape[-1] ** -0.5
        q, k, v = ((part * by).flatten(0, 1) for part, by in zip(_computed(query, key, value), (scale, 1, 1),
                                                                 strict=True))
        heads, positions, _ = q.shape
        chance = _random_bytes(heads, positions)
        kept = _LEVELS / (_LEVELS - dropped)
        result, total = torch.empty_like(q), q.new_empty(heads, positions, 1)
        for head, rows in _blocks(heads, positions):
            scores = q[head, rows] @ k[head].T
            total[head, rows] = torch.logsumexp(scores, 1, keepdim=True)
            weights = scores.sub_(total[head, rows]).exp_().mul_(chance[head, rows] >= dropped)
            result[head, rows] = (weights @ v[head]).mul_(kept)
        ctx.save_for_backward(q, k, v, result, total, chance)
        ctx.dropped, ctx.scale, ctx.kept = dropped, scale, kept
        return result.view(query.shape).type(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value: ``dS = P (dP - sum_j P_j dP_j)``, the sum being ``<o, do>``."""
        q, k, v, result, total, chance = ctx.saved_tensors
        given = upstream.type(q.dtype).reshape(q.shape)
        along = (result * given).sum(2, keepdim=True)
        given = given * ctx.kept
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for head, rows in _blocks(*chance.shape[:2]):
            keep = chance[head, rows] >= ctx.dropped
            weights = (q[head, rows] @ k[head].T).sub_(total[head, rows]).exp_()
            change = (given[head, rows] @ v[head].T).mul_(keep).sub_(along[head, rows]).mul_(weights)
            dv[head].addmm_(weights.mul_(keep).T, given[head, rows])
            dq[head, rows] = (change @ k[head]).mul_(ctx.scale)
            dk[head].addmm_(change.T, q[head, rows])
        return (*(part.view(upstream.shape).type(upstream.dtype) for part in (dq, dk, dv)), None)


def _computed(*parts: Tensor) -> tuple[Tensor, ...]:
    """At least float32."""
    return tuple(part.type(torch.promote_types(part.dtype, torch.float32)) for part in parts)


def _random_bytes(heads: int, positions: int) -> Tensor:
    """(heads, positions, positions) uint8, uniform: eight of each random number."""
    count = heads * positions * positions
    numbers = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.uint8)[:count].view(heads, positions, positions)


def _blocks(heads: int, positions: int) -> list[tuple[int, slice]]:
    starts = range(0, positions, _BLOCK_ROWS)
    return [(head, slice(start, start + _BLOCK_ROWS)) for head in range(heads) for start in starts]
