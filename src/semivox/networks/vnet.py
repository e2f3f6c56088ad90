"""The V-Net of the semi-supervised literature: five resolutions, plain blocks, additive skip connections.

Not the residual network of Milletari et al. 2016: the codes of UA-MT and its descendants switch the residual
connections off, and all published numbers of that line come from this variant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from semivox.networks.blocks import (
    Initialization,
    dropout_or_nothing,
    initialize,
    normalized_convolution,
    stage,
)
from semivox.networks.output import Output
from semivox.networks.upconvolution import UpConvolution3d

VNetUpsampling = Literal["deconv", "trilinear", "nearest"]

_LEVELS = 5


class VNetEncoder(nn.Module):
    """Five stages of 1, 2, 3, 3, 3 convolutions; the width doubles and the size halves from one to the next.

    Args:
        channels: image channels.
        width: channels of the first stage.
        dropout: probability of dropping a whole channel of x5.
        mid: applied to x4 before it goes both to the skip connection and to the next downsampling; must keep the
            shape. A module becomes part of the encoder (its parameters are trained).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 16,
        dropout: float = 0.5,
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        depths = (2, 3, 3, 3)
        self.first = stage(channels, width, 1)
        self.downs = nn.ModuleList(
            normalized_convolution(a, b, stride=2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.stages = nn.ModuleList(stage(w, w, depth) for w, depth in zip(widths[1:], depths, strict=True))
        self.dropout = dropout_or_nothing(nn.Dropout3d, dropout)
        self.mid = mid

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps x1..x5 of an image (B, C, X, Y, Z): (B, width * 2^i, X / 2^i, Y / 2^i, Z / 2^i) for i = 0..4."""
        maps = [self.first(image)]
        for level, (down, convolutions) in enumerate(zip(self.downs, self.stages, strict=True), start=2):
            features = convolutions(down(maps[-1]))
            if level == _LEVELS - 1 and self.mid is not None:
                features = self.mid(features)
            maps.append(features)
        maps[-1] = self.dropout(maps[-1])
        return tuple(maps)


class VNetDecoder(nn.Module):
    """Four up-stages of 3, 3, 2, 1 convolutions with added skip connections, dropout, and a 1x1x1 output convolution.

    Args:
        classes: K, background included.
        width: channels of the finest map.
        upsampling: ``"deconv"`` (transposed convolution k2 s2), ``"trilinear"`` (corners aligned) or ``"nearest"``,
            the last two followed by a 3x3x3 convolution.
        dropout: probability of dropping a whole channel of x9.
    """

    def __init__(
        self, classes: int, *, width: int = 16, upsampling: VNetUpsampling = "deconv", dropout: float = 0.5
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in reversed(range(_LEVELS))]
        depths = (3, 3, 2, 1)
        self.ups = nn.ModuleList(_up(a, b, upsampling) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.stages = nn.ModuleList(stage(w, w, depth) for w, depth in zip(widths[1:], depths, strict=True))
        self.dropout = dropout_or_nothing(nn.Dropout3d, dropout)
        self.out = nn.Conv3d(width, classes, 1)

    def forward(self, encoder: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (B, K, X, Y, Z) float32 and maps x6..x9 (x9 after dropout) of the encoder maps x1..x5."""
        features = encoder[-1]
        maps: list[Tensor] = []
        for up, convolutions, skip in zip(self.ups, self.stages, reversed(encoder[:-1]), strict=True):
            features = convolutions(up(features) + skip)
            maps.append(features)
        maps[-1] = self.dropout(maps[-1])
        return self.out(maps[-1]).float(), tuple(maps)


class VNet(nn.Module):
    """V-Net with 9,448,866 parameters by default (1 channel, 2 classes); image sides are multiples of 16.

    Args:
        channels: image channels.
        classes: K, background included.
        width: channels of the finest resolution; multiples of 16 are fastest.
        decoder: kind of upsampling, see :class:`VNetDecoder`.
        dropout: channel-wise, after the coarsest encoder stage and before the output; 0 switches it off.
        init: see :func:`semivox.networks.blocks.initialize`.
        mid: see :class:`VNetEncoder`.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        channels: int,
        classes: int,
        *,
        width: int = 16,
        decoder: VNetUpsampling = "deconv",
        dropout: float = 0.5,
        init: Initialization = "default",
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_widths = tuple(width * 2**level for level in range(_LEVELS))
        self.decoder_widths = self.encoder_widths[-2::-1]
        self.encoder = VNetEncoder(channels, width=width, dropout=dropout, mid=mid)
        self.decoder = VNetDecoder(classes, width=width, upsampling=decoder, dropout=dropout)
        initialize(self, init)

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, X, Y, Z)."""
        encoder = self.encoder(image)
        logits, decoder = self.decoder(encoder)
        return Output(logits, encoder, decoder)


def _up(inputs: int, outputs: int, upsampling: VNetUpsampling) -> nn.Sequential:
    if upsampling == "deconv":
        return nn.Sequential(
            UpConvolution3d(inputs, outputs, 2, stride=2), nn.BatchNorm3d(outputs), nn.ReLU()
        )
    corners = True if upsampling == "trilinear" else None
    upsample = nn.Upsample(scale_factor=2, mode=upsampling, align_corners=corners)
    return nn.Sequential(upsample, *normalized_convolution(inputs, outputs))
