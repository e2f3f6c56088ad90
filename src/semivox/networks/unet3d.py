"""The 3D U-Net of SSL4MIS and TraCoCo: instance normalization, trilinear upsampling, concatenated skip connections."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from semivox.networks.blocks import Initialization, dropout_or_nothing, initialize, join
from semivox.networks.output import Output

_LEVELS = 5


class UNet3d(nn.Module):
    """3D U-Net with 5,884,050 parameters by default (1 channel, 2 classes); image sides are multiples of 16.

    The decoder maps at a quarter, half and full size have 4, 2 and 1 times ``width`` channels, as those of the V-Net.

    Args:
        channels: image channels.
        classes: K, background included.
        width: channels of the finest resolution; multiples of 16 are fastest.
        dropout: element-wise, after the coarsest stage and before the output; 0 switches it off.
        init: see :func:`semivox.networks.blocks.initialize`.
        mid: applied to x4 before it goes both to the skip connection and to the pooling; must keep the shape. A module
            becomes part of the network.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int = 16,
        dropout: float = 0.3,
        init: Initialization = "kaiming",
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        self.encoder_widths, self.decoder_widths = tuple(widths), tuple(reversed(widths[:-1]))
        self.mid = mid
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(_double_convolution(a, b) for a, b in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool3d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.decoder = nn.ModuleList(_double_convolution(3 * w, w) for w in reversed(widths[:-1]))
        self.dropout = dropout_or_nothing(nn.Dropout, dropout)
        self.out = nn.Conv3d(width, classes, 1)
        initialize(self, init)

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, X, Y, Z)."""
        encoder = [self.encoder[0](image)]
        for level, convolutions in enumerate(self.encoder[1:], start=2):
            features = convolutions(self.pool(encoder[-1]))
            encoder.append(self.mid(features) if level == _LEVELS - 1 and self.mid is not None else features)
        encoder[-1] = self.dropout(encoder[-1])
        features = encoder[-1]
        decoder: list[Tensor] = []
        for convolutions, skip in zip(self.decoder, reversed(encoder[:-1]), strict=True):
            features = convolutions(join(skip, self.upsample(features)))
            decoder.append(features)
        decoder[-1] = self.dropout(decoder[-1])
        return Output(self.out(decoder[-1]).float(), tuple(encoder), tuple(decoder))


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1),
        nn.InstanceNorm3d(outputs),
        nn.ReLU(),
        nn.Conv3d(outputs, outputs, 3, padding=1),
        nn.InstanceNorm3d(outputs),
        nn.ReLU(),
    )
