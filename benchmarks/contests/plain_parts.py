"""Parts of networks, of CAML and of CML as PyTorch offers them, in place of Semivox's faster ones: for other sides."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from semivox.losses.correlation import Compare, cross_entropy_of_rows
from semivox.networks.upconvolution import UpConvolution3d

Module = TypeVar("Module", bound=nn.Module)


def public_layers(module: Module) -> Module:
    """The same weights in the layers of public code: activations in place, PyTorch's own transposed convolution."""
    for layer in module.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
        if type(layer) is UpConvolution3d:
            layer.__class__ = nn.ConvTranspose3d
    return module


def install() -> None:
    """Put the plain parts into the methods of this process."""
    from semivox.components import attention, peers
    from semivox.methods import caml

    attention.attend = attend  # type: ignore[assignment]
    peers.confidence_and_class = largest  # type: ignore[assignment]
    caml.confidence_and_class = largest  # type: ignore[assignment]
    caml.omni_correlation = omni_correlation  # type: ignore[assignment]


def attend(query: Tensor, key: Tensor, value: Tensor, *, dropout: float) -> Tensor:
    """PyTorch's attention."""
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


@torch.no_grad()
def largest(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability of each voxel and its class."""
    confidence, answer = probabilities.max(1)
    return confidence, answer


def omni_correlation(queries: Tensor, targets: Tensor, counted: Tensor, compare: Compare) -> Tensor:
    """All rows at once, differentiated by autograd."""
    rows = cross_entropy_of_rows(compare(queries), compare(targets))
    return torch.where(counted, rows, 0.0).sum() / counted.sum().clamp(min=1)
