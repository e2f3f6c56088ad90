"""Prototypes that interrogate decoder features: the dynamic interaction module of CRLN."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from semivox.networks.output import Output


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with a softmax over positions: ``softmax_n(q k_n^T / sqrt(F)) v_n`` (CRLN, Eq. 3 and 4).

    Args:
        query: (Q, F), shared by the batch.
        key: (B, N, F), N positions.
        value: (B, N, D).

    Returns:
        (B, Q, D), a weighted mean of the values for each query.
    """
    scores = (query / math.sqrt(query.shape[-1])) @ key.mT
    return scores.softmax(-1) @ value


class DynamicInteraction(nn.Module):
    """Learned prototypes of each class give a class map of an image from two of its decoder maps (CRLN, Eq. 3-6).

    Block I attends with the prototypes P to the coarse map; block II compares what they became with each voxel of the
    fine map, ``m2 = q k^T / sqrt(F3)``, one volume for each class and prototype; a 3x3x3 convolution (R to R) and a
    1x1x1 one (R to 1), the same for all classes, make one logit of a class's R volumes. Their 17 biases, 0 at the
    start, add the same to the logits of all classes, which no softmax sees, and so stay 0. 27,777 parameters and 2,048
    of P for 64 and 32 channels, 16 prototypes and two classes.

    Nothing in block II and the two convolutions is not linear, so their weights are multiplied together first: the
    fine map is projected once and convolved once, with one kernel for each sample and class, and the B*K*R volumes m2
    are never made. Everything is computed in the precision of the weights, also under autocast: all prototypes start
    with nearly equal answers, and bfloat16 would round their differences away.

    Args:
        widths: F and F3, channels of the coarse and of the fine map.
        classes: K.
        dimensions: 2 or 3, of the maps.
        prototypes: R, for each class.
        std: standard deviation of the prototypes at the start.
        residual: whether block I adds its answer to the prototypes, or replaces them (as published).
    """

    def __init__(
        self,
        widths: tuple[int, int],
        *,
        classes: int,
        dimensions: int,
        prototypes: int = 16,
        std: float = 1.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        coarse, fine = widths
        convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.prototypes = nn.Parameter(std * torch.randn(classes, prototypes, coarse))
        self.reduce_coarse = nn.Linear(coarse, coarse)
        self.reduce_fine = nn.Linear(fine, fine)
        self.query, self.key, self.value = (nn.Linear(coarse, coarse) for _ in range(3))
        self.query_fine = nn.Linear(coarse, fine)
        self.key_fine = nn.Linear(fine, fine)
        self.spatial = convolution(prototypes, prototypes, 3, padding=1, bias=False)
        self.merge = convolution(prototypes, 1, 1, bias=False)
        self.spatial.bias, self.merge.bias = (nn.Parameter(torch.zeros(size)) for size in (prototypes, 1))
        self.residual = residual

    def forward(self, coarse: Tensor, fine: Tensor, size: torch.Size) -> Tensor:
        """Class map M (B, K, *size), logits.

        Args:
            coarse: f2, (B, F, *space) decoder map at a quarter of the image's size.
            fine: f3, (B, F3, *space) decoder map at half of the image's size.
            size: sides of the image, to which M is interpolated linearly.
        """
        with torch.autocast(coarse.device.type, enabled=False):
            features = self.reduce_coarse(self._rows(coarse))
            query = self.query(self.prototypes).flatten(0, 1)
            answers = attend(query, self.key(features), self.value(features))  # P1
            if self.residual:
                answers = answers + self.prototypes.flatten(0, 1)
            queries = self.query_fine(answers).view(-1, *self.prototypes.shape[:2], self.query_fine.out_features)
            weight = self.key_fine.weight @ self.reduce_fine.weight
            bias = self.key_fine(self.reduce_fine.bias)
            keys = functional.linear(self._rows(fine), weight, bias)
            logits = self._aggregate(queries, keys, fine.shape[2:])
            mode = "trilinear" if logits.dim() == 5 else "bilinear"
            return functional.interpolate(logits, size=size, mode=mode)

    def _rows(self, features: Tensor) -> Tensor:
        """(B, N, F) of a map (B, F, *space), in the precision of the weights."""
        return features.flatten(2).mT.to(self.prototypes.dtype)

    def _aggregate(self, queries: Tensor, keys: Tensor, space: torch.Size) -> Tensor:
        """Scores of block II and both convolutions of them in one: (B, K, *space).

        Args:
            queries: (B, K, R, F3).
            keys: (B, N, F3).
            space: whose product is N.
        """
        folded = torch.tensordot(self.merge.weight.flatten(), self.spatial.weight.flatten(2), dims=1)  # (R, 27)
        kernels = torch.tensordot(queries.mT, folded, dims=1) / math.sqrt(queries.shape[-1])  # (B, K, F3, 27)
        products = kernels.movedim(-1, 2).flatten(1, 2) @ keys.mT  # (B, K * 27, N)
        volumes = products.view(*queries.shape[:2], -1, *space)
        added: Tensor = _ShiftedSum.apply(volumes)  # type: ignore[no-untyped-call]
        shared = self.merge.weight.flatten() @ cast(Tensor, self.spatial.bias) + cast(Tensor, self.merge.bias)
        return added + shared


class _ShiftedSum(torch.autograd.Function):
    """``out[v] = sum_d products[d][v + d - 1]`` over the 3^n offsets d, 0 outside: what is left of a convolution.

    Library convolutions with as few output channels as there are classes take four times as long.
    """

    @staticmethod
    def forward(ctx: Any, products: Tensor) -> Tensor:
        """(B, K, *space) of products (B, K, 3^n, *space)."""
        ctx.space = products.shape[3:]
        sums = products.new_zeros(*products.shape[:2], *(side + 2 for side in ctx.space))
        for number, offset in enumerate(itertools.product((2, 1, 0), repeat=len(ctx.space))):
            sums[_window(offset, ctx.space)] += products[:, :, number]
        return sums[_window((1,) * len(ctx.space), ctx.space)].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """(B, K, 3^n, *space) of (B, K, *space)."""
        padded = functional.pad(gradient, [1, 1] * len(ctx.space))
        offsets = itertools.product((2, 1, 0), repeat=len(ctx.space))
        return torch.stack([padded[_window(offset, ctx.space)] for offset in offsets], 2)


def _window(offset: tuple[int, ...], space: tuple[int, ...]) -> tuple[Any, ...]:
    """The part of a padded map that lies as far from its corner as ``offset`` says."""
    return (..., *(slice(start, start + side) for start, side in zip(offset, space, strict=True)))


class PrototypeNetwork(nn.Module):
    """A segmentation network and the interaction module on its decoder maps: what the teacher is a copy of.

    Args:
        network: exposes decoder maps at a quarter, half and full size.
        interaction: None leaves the module out.
    """

    def __init__(self, network: nn.Module, interaction: DynamicInteraction | None) -> None:
        super().__init__()
        self.network = network
        self.interaction = interaction

    @property
    def prototypes(self) -> Tensor | None:
        """P, (K, R, F), or None without the module."""
        return None if self.interaction is None else self.interaction.prototypes

    def forward(self, image: Tensor, count: int | None = None) -> tuple[Output, Tensor | None]:
        """The network's output on images (B, C, *space), and the logits M (count, K, *space) of the first samples.

        Args:
            image: (B, C, *space).
            count: of how many samples, from the first, M is wanted; None is all.
        """
        output: Output = self.network(image)
        if self.interaction is None:
            return output, None
        _, coarse, fine, _ = output.decoder
        return output, self.interaction(coarse[:count], fine[:count], image.shape[2:])


class InteractionProbabilities(nn.Module):
    """The class map M of a prototype network as probabilities, to be watched beside the network's own."""

    def __init__(self, network: PrototypeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, *space) to probabilities (B, K, *space)."""
        _, logits = self.network(image)
        probabilities: Tensor = logits.softmax(1)
        return probabilities
