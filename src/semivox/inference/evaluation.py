"""A network as it is evaluated: in evaluation mode, with the batch normalization inside the convolutions.

In evaluation a batch normalization is a fixed scale and shift of each channel, so it can be part of the convolution
before it: the same function up to rounding, without two passes over the maps. On the CPU the activation after it
joins the convolution, too (oneDNN's own, the one that ``torch.compile`` uses). Only modules that follow each other
in a plain ``nn.Sequential`` are joined: there nothing else can use the map between them.
"""

from __future__ import annotations

import copy
from functools import cache
from itertools import chain
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from semivox.inference.precision import resolve_precision
from semivox.networks.upconvolution import UpConvolution2d, UpConvolution3d

Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
Normalization = nn.BatchNorm2d | nn.BatchNorm3d
Activation = nn.ReLU | nn.LeakyReLU
CONVOLUTIONS = {nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, UpConvolution2d, UpConvolution3d}
NORMALIZATIONS = {nn.BatchNorm2d, nn.BatchNorm3d}
ACTIVATIONS = {nn.ReLU, nn.LeakyReLU}


def evaluation_twin(network: nn.Module, *, precision: str, device: torch.device | str) -> nn.Module:
    """A copy of the network in evaluation mode with joined layers; weights that are not joined are shared.

    The network itself is not touched, so that several scans can be predicted, or a step trained, while a twin is used.
    A twin is not compiled, even if the network is.

    Args:
        network: any module on ``device``.
        precision: "fp32", "bf16" or "auto", of the forward passes.
        device: of the forward passes.
    """
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    activations = torch.device(device).type == "cpu" and joined_activation_works(dtype)
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    twin: nn.Module = copy.deepcopy(network, shared).eval()
    with torch.no_grad():
        for row in [module for module in twin.modules() if type(module) is nn.Sequential]:
            _join(row, dtype, activations=activations)
    return twin.eval()


class ActivatedConvolution(nn.Module):
    """A convolution that applies its activation while it writes the map. For the CPU and inference only.

    Args:
        convolution: with zero padding.
        activation: what follows it.
        dtype: that it computes in; its input is converted.
    """

    def __init__(self, convolution: Convolution, activation: Activation, dtype: torch.dtype) -> None:
        super().__init__()
        layout = torch.channels_last if convolution.weight.ndim == 4 else torch.channels_last_3d
        self.transposed = isinstance(convolution, nn.ConvTranspose2d | nn.ConvTranspose3d)
        self.weight = convolution.weight.detach().to(dtype).contiguous(memory_format=layout)
        # float32, because it is added before the result is rounded
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        output_padding = [convolution.output_padding] if self.transposed else []
        self.geometry = (convolution.padding, *output_padding, convolution.stride, convolution.dilation,
                         convolution.groups)
        slopes = [activation.negative_slope] if isinstance(activation, nn.LeakyReLU) else []
        self.activation = ("leaky_relu" if slopes else "relu", slopes, "")

    def forward(self, image: Tensor) -> Tensor:
        """As the two modules: (B, C, *space) to (B, D, *space)."""
        name = "_convolution_transpose_pointwise" if self.transposed else "_convolution_pointwise"
        operator = getattr(torch.ops.mkldnn, name)
        result: Tensor = operator(image.to(self.weight.dtype), self.weight, self.bias, *self.geometry,
                                  *self.activation)
        return result


def round_together(weight: Tensor, dtype: torch.dtype, *, over_inputs: bool) -> Tensor:
    """Round weights so that the errors of those that are summed cancel, not each weight to its nearest value.

    The rounding error of one weight is added to the next before that is rounded. Neighboring voxels of a map are
    alike, so errors of a kernel that sum to almost nothing change the result less: the joined network is about as
    near to float32 as the network whose weights autocast rounds one by one.

    Args:
        weight: (D, B, *kernel), or (B, D, *kernel) of a transposed convolution.
        dtype: to round to.
        over_inputs: let the errors along the first axis cancel, not those in the kernel: of a transposed convolution
            with stride only one element of the kernel meets a voxel.
    """
    rows = weight.flatten(1) if over_inputs else weight.flatten(2).permute(2, 0, 1).flatten(1)
    rounded, error = torch.empty_like(rows, dtype=dtype), torch.zeros_like(rows[0])
    for place, row in enumerate(rows):
        rounded[place] = row + error
        error += row - rounded[place]
    if over_inputs:
        return rounded.reshape(weight.shape)
    return rounded.reshape(-1, *weight.shape[:2]).permute(1, 2, 0).reshape(weight.shape)


@cache
@torch.inference_mode()
def joined_activation_works(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's convolution with activation, and it computes what it should.

    It is not part of PyTorch's public interface, so a small case of each kind is compared once in each process.
    """
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    with torch.random.fork_rng(devices=()), torch.autocast("cpu", enabled=False):
        torch.manual_seed(0)
        image = torch.randn(1, 16, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d)
        pairs: list[tuple[Convolution, Activation]] = [(nn.Conv3d(16, 16, 3, padding=1), nn.ReLU()),
                                                       (nn.ConvTranspose3d(16, 16, 2, stride=2), nn.LeakyReLU(0.1))]
        try:
            results = [(ActivatedConvolution(convolution, activation, dtype)(image), activation(convolution(image)))
                       for convolution, activation in pairs]
        except (RuntimeError, AttributeError, NotImplementedError):
            return False
    return all(torch.allclose(joined.float(), apart, rtol=tolerance, atol=tolerance) for joined, apart in results)


def _join(row: nn.Sequential, dtype: torch.dtype, *, activations: bool) -> None:
    """Join what can be joined, with weights that ``dtype`` can hold."""
    modules = list(row)
    for index, (first, second) in enumerate(zip(modules, modules[1:], strict=False)):
        if not (_plain_convolution(first) and _fixed_normalization(second)):
            continue
        transposed = isinstance(first, nn.ConvTranspose2d | nn.ConvTranspose3d)
        convolution = fuse_conv_bn_eval(first, second, transposed)
        if dtype != torch.float32:
            convolution.weight.copy_(round_together(convolution.weight, dtype, over_inputs=transposed))
        row[index], row[index + 1] = convolution, nn.Identity()
        third = modules[index + 2] if index + 2 < len(modules) else None
        if activations and _plain_activation(third):
            row[index], row[index + 2] = ActivatedConvolution(convolution, third, dtype), nn.Identity()


def _plain_convolution(module: nn.Module) -> TypeGuard[Convolution]:
    """Whether this is PyTorch's own class, padded with zeros; subclasses may compute their weights."""
    if type(module) not in CONVOLUTIONS or not isinstance(module, Convolution) or _watched(module):
        return False
    grouped_transposed = module.groups > 1 and isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d)
    return module.padding_mode == "zeros" and not isinstance(module.padding, str) and not grouped_transposed


def _fixed_normalization(module: nn.Module) -> TypeGuard[Normalization]:
    """Whether this normalizes by numbers that it has learned, not by those of its input."""
    known = type(module) in NORMALIZATIONS and isinstance(module, Normalization) and not _watched(module)
    return known and not module.training and module.running_var is not None


def _plain_activation(module: nn.Module | None) -> TypeGuard[Activation]:
    return type(module) in ACTIVATIONS and module is not None and not _watched(module)


def _watched(module: nn.Module) -> bool:
    """Whether somebody's hook expects this module to be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
