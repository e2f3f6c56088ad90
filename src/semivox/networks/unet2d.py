"""The 2D U-Net of the cardiac (ACDC) literature, with two kinds of decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from semivox.networks.blocks import Initialization, dropout_or_nothing, initialize, join
from semivox.networks.output import Output
from semivox.networks.upconvolution import UpConvolution2d

UNet2dUpsampling = Literal["bilinear", "deconv"]

_LEVELS = 5
_DROPOUT_SHARES = (0.1, 0.2, 0.4, 0.6, 1.0)
"""Dropout of each encoder stage relative to the deepest: 0.05, 0.1, 0.2, 0.3, 0.5 in the literature."""


class UNet2dEncoder(nn.Module):
    """Five convolution blocks with dropout between, max-pooling in between; 1,180,464 parameters by default.

    Args:
        channels: image channels.
        width: channels of the finest resolution.
        dropout: of the deepest stage; the stages before it have 0.1, 0.2, 0.4 and 0.6 times as much.
        mid: applied to x4 before it goes both to the skip connection and to the pooling; must keep the shape. A module
            becomes part of the encoder.
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
        self.mid = mid
        widths = [width * 2**level for level in range(_LEVELS)]
        probabilities = [share * dropout for share in _DROPOUT_SHARES]
        inputs = [channels, *widths[:-1]]
        self.stages = nn.ModuleList(_block(*sizes) for sizes in zip(inputs, widths, probabilities, strict=True))
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps x1..x5 of an image (B, C, X, Y): (B, width * 2^i, X / 2^i, Y / 2^i) for i = 0..4."""
        maps = [self.stages[0](image)]
        for level, convolutions in enumerate(self.stages[1:], start=2):
            features = convolutions(self.pool(maps[-1]))
            maps.append(self.mid(features) if level == _LEVELS - 1 and self.mid is not None else features)
        return tuple(maps)


class UNet2dDecoder(nn.Module):
    """Four up-stages with concatenated skip connections and a 3x3 output convolution, no dropout.

    Args:
        classes: K, background included.
        width: channels of the finest map.
        upsampling: ``"bilinear"`` (1x1 convolution, then corners aligned) or ``"deconv"`` (transposed, k2 s2).
    """

    def __init__(self, classes: int, *, width: int = 16, upsampling: UNet2dUpsampling = "bilinear") -> None:
        super().__init__()
        widths = [width * 2**level for level in reversed(range(_LEVELS))]
        self.ups = nn.ModuleList(_up(a, b, upsampling) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.stages = nn.ModuleList(_block(2 * w, w, 0.0) for w in widths[1:])
        self.out = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, encoder: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (B, K, X, Y) float32 and maps x6..x9 of the encoder maps x1..x5."""
        features = encoder[-1]
        maps: list[Tensor] = []
        for up, convolutions, skip in zip(self.ups, self.stages, reversed(encoder[:-1]), strict=True):
            features = convolutions(join(skip, up(features)))
            maps.append(features)
        return self.out(features).float(), tuple(maps)


class UNet2d(nn.Module):
    """2D U-Net with 1,813,764 parameters by default (1 channel, 4 classes); image sides are multiples of 16.

    Args:
        channels: image channels.
        classes: K, background included.
        width: channels of the finest resolution; multiples of 16 are fastest.
        decoder: kind of upsampling, see :class:`UNet2dDecoder`.
        dropout: see :class:`UNet2dEncoder`; 0 switches it off.
        init: see :func:`semivox.networks.blocks.initialize`.
        mid: see :class:`UNet2dEncoder`.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        channels: int,
        classes: int,
        *,
        width: int = 16,
        decoder: UNet2dUpsampling = "bilinear",
        dropout: float = 0.5,
        init: Initialization = "default",
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_widths = tuple(width * 2**level for level in range(_LEVELS))
        self.decoder_widths = self.encoder_widths[-2::-1]
        self.encoder = UNet2dEncoder(channels, width=width, dropout=dropout, mid=mid)
        self.decoder = UNet2dDecoder(classes, width=width, upsampling=decoder)
        initialize(self, init)

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, X, Y)."""
        encoder = self.encoder(image)
        logits, decoder = self.decoder(encoder)
        return Output(logits, encoder, decoder)


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(inplace=True),
        dropout_or_nothing(nn.Dropout, dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(inplace=True),
    )


def _up(inputs: int, outputs: int, upsampling: UNet2dUpsampling) -> nn.Module:
    if upsampling == "deconv":
        return UpConvolution2d(inputs, outputs, 2, stride=2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    )
