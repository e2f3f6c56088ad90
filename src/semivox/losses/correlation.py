"""Omni-correlation consistency (CAML, MICCAI 2023): two networks see a voxel alike against remembered voxels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Similarity = Literal["dot", "cosine"]
Compare = Callable[[Tensor], Tensor]

_BLOCK_ROWS = 2048
"""Rows that are compared at a time."""


def correlation_rows(
    queries: Tensor, prototypes: Tensor, drawn: Tensor, *, similarity: Similarity, temperature: float
) -> Tensor:
    """Similarity distributions of voxels over the prototypes of all classes: ``S_rj = softmax_j(t k(q_r, z_j))``.

    Args:
        queries: q, (m, D).
        prototypes: z, (n, D).
        drawn: (n,) boolean; columns of prototypes that were not drawn are 0. If none was, all are equal.
        similarity: k: ``"cosine"`` (paper) or ``"dot"`` product (released code).
        temperature: t, which multiplies the similarity.

    Returns:
        (m, n) float32, rows sum to 1.
    """
    with torch.autocast(queries.device.type, enabled=False):  # the matrix product too is float32
        queries, prototypes = queries.float(), prototypes.float()
        if similarity == "cosine":
            queries, prototypes = (functional.normalize(rows, dim=1, eps=1e-6) for rows in (queries, prototypes))
        excluded = torch.where(drawn, 0.0, torch.finfo(torch.float32).min)
        return functional.linear(temperature * queries, prototypes, excluded).softmax(1)


def cross_entropy_of_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of pairs of distributions: ``-sum_j T_rj log(S_rj + 1e-8)``.

    Args:
        prediction: S, (m, n), rows sum to 1.
        target: T, the same shape; the gradient reaches it too.

    Returns:
        (m,) float32, between the entropy of T's row and 18.43.
    """
    return -(target.float() * (prediction.float() + 1e-8).log()).sum(1)


def omni_correlation(queries: Tensor, targets: Tensor, counted: Tensor, compare: Compare) -> Tensor:
    """Mean cross-entropy between the similarity distributions of two embeddings of the same voxels.

    ``-1/m sum_r sum_j S(a_r)_j log(S(v_r)_j + 1e-8)``. The (m, n) distributions never exist as a whole: blocks of rows
    are compared and differentiated one after the other, which takes half of the time on a CPU.

    Args:
        queries: v, (m', D), of which m rows count; the predicting side.
        targets: a, (m', D); the gradient reaches them too unless they are detached.
        counted: (m',) boolean.
        compare: S, from (rows, D) to distributions (rows, n), such as :func:`correlation_rows` with its prototypes. It
            must treat each row on its own.

    Returns:
        Scalar float32 in [0, 18.43]; 0 if no row counts.
    """
    share = counted.float() / counted.sum().clamp(min=1)
    loss: Tensor = _Blocks.apply(queries, targets, share, compare)  # type: ignore[no-untyped-call]
    return loss


class _Blocks(torch.autograd.Function):
    """Weighted sum of the rows' losses, differentiated on the way."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, targets: Tensor, share: Tensor, compare: Compare) -> Tensor:
        """The loss, and the gradients that ``backward`` scales: block by block, so that few rows exist at a time."""
        wanted = ctx.needs_input_grad[:2]
        total = torch.zeros((), device=queries.device)
        gradients: list[tuple[Tensor, ...]] = []
        blocks = (torch.split(rows, _BLOCK_ROWS) for rows in (queries, targets, share))
        for *sides, weight in zip(*blocks, strict=True):
            with torch.set_grad_enabled(any(wanted)):
                first, second = (side.detach().requires_grad_(yes) for side, yes in zip(sides, wanted, strict=True))
                rows = cross_entropy_of_rows(compare(first), compare(second))
                loss = (rows * weight).sum()
            total += loss.detach()
            if any(wanted):
                leaves = [side for side, yes in zip((first, second), wanted, strict=True) if yes]
                gradients.append(torch.autograd.grad(loss, leaves))
        ctx.save_for_backward(*(torch.cat(parts) for parts in zip(*gradients, strict=True)))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        found = iter(ctx.saved_tensors)
        scaled = [next(found) * upstream if yes else None for yes in ctx.needs_input_grad[:2]]
        return (*scaled, None, None)
