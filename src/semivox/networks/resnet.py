"""ResNet34 encoders with the decoders of the V-Net (3D) and of the U-Net (2D): the second network of MCF and Dual-Net.

The encoder keeps the full size in its stem (stride 1, no max-pooling), so its maps have the shapes of the V-Net's and
of the U-Net's. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; in 3D as in MCF, CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from torch import Tensor, nn

from semivox.networks.blocks import Initialization, dropout_or_nothing, initialize
from semivox.networks.output import Output
from semivox.networks.unet2d import UNet2dDecoder, UNet2dUpsampling
from semivox.networks.vnet import VNetDecoder, VNetUpsampling

_LEVELS = 5
_BLOCKS = (3, 4, 6, 3)
"""Basic blocks of each stage: 34 layers with the stem and the classifier that is not here."""
_LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    2: (nn.Conv2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.BatchNorm3d),
}


class ResNet34Encoder(nn.Module):
    """A 7-wide stem and four stages of basic blocks; 15,858,384 parameters in 3D with 1 channel and the default width.

    Convolutions have no bias, the normalization after each of them has.

    Args:
        channels: image channels.
        width: channels of the stem; they double from one stage to the next.
        dimensions: 2 or 3.
        mid: applied to x4 before it goes both to the skip connection and to the last stage; must keep the shape. A
            module becomes part of the encoder.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 16,
        dimensions: Literal[2, 3] = 3,
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        self.stem = _normalized(channels, width, dimensions, kernel=7)
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(a, b, dimensions, stride=2), *(BasicBlock(b, b, dimensions) for _ in range(n - 1)))
            for a, b, n in zip(widths[:-1], widths[1:], _BLOCKS, strict=True)
        )
        self.relu = nn.ReLU()
        self.mid = mid

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps x1..x5 of an image (B, C, *space): width * 2^i channels, sides divided by 2^i, for i = 0..4."""
        maps = [self.relu(self.stem(image))]
        for level, blocks in enumerate(self.stages, start=2):
            features = blocks(maps[-1])
            maps.append(self.mid(features) if level == _LEVELS - 1 and self.mid is not None else features)
        return tuple(maps)


class BasicBlock(nn.Module):
    """``relu(F(x) + S(x))``: F two normalized convolutions, S the identity, or a projection where the size is halved.

    Args:
        inputs: channels of x.
        outputs: channels of the result; equal to ``inputs`` where the stride is 1.
        dimensions: 2 or 3.
        stride: of the first convolution, 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, dimensions: Literal[2, 3], *, stride: int = 1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.residual = nn.Sequential(
            _normalized(inputs, outputs, dimensions, stride=stride),
            self.relu,
            _normalized(outputs, outputs, dimensions),
        )
        projected = _normalized(inputs, outputs, dimensions, kernel=1, stride=stride) if stride > 1 else nn.Identity()
        self.shortcut = projected

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, *space) to (B, outputs, *space / stride)."""
        return cast(Tensor, self.relu(self.residual(features) + self.shortcut(features)))


class ResNetVNet(nn.Module):
    """ResNet34 encoder and V-Net decoder: 17,930,354 parameters by default (1 channel, 2 classes).

    Args:
        channels: image channels; image sides are multiples of 16.
        classes: K, background included.
        width: channels of the finest resolution; multiples of 16 are fastest.
        decoder: kind of upsampling, see :class:`semivox.networks.vnet.VNetDecoder`.
        dropout: channel-wise, before the output alone; 0 switches it off.
        init: see :func:`semivox.networks.blocks.initialize`.
        mid: see :class:`ResNet34Encoder`.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        channels: int,
        classes: int,
        *,
        width: int = 16,
        decoder: VNetUpsampling = "deconv",
        dropout: float = 0.5,
        init: Initialization = "kaiming",
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_widths = tuple(width * 2**level for level in range(_LEVELS))
        self.decoder_widths = self.encoder_widths[-2::-1]
        self.encoder = ResNet34Encoder(channels, width=width, dimensions=3, mid=mid)
        self.decoder = VNetDecoder(classes, width=width, upsampling=decoder, dropout=dropout)
        initialize(self, init)

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, X, Y, Z)."""
        encoder = self.encoder(image)
        logits, decoder = self.decoder(encoder)
        return Output(logits, encoder, decoder)


class ResNetUNet2d(nn.Module):
    """2D ResNet34 encoder and decoder of the 2D U-Net: the sibling of :class:`ResNetVNet` for slices.

    Args:
        channels: image channels; image sides are multiples of 16.
        classes: K, background included.
        width: channels of the finest resolution; multiples of 16 are fastest.
        decoder: kind of upsampling, see :class:`semivox.networks.unet2d.UNet2dDecoder`.
        dropout: element-wise, of x5, as in the U-Net, whose decoder has none; 0 switches it off.
        init: see :func:`semivox.networks.blocks.initialize`.
        mid: see :class:`ResNet34Encoder`.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        channels: int,
        classes: int,
        *,
        width: int = 16,
        decoder: UNet2dUpsampling = "bilinear",
        dropout: float = 0.5,
        init: Initialization = "kaiming",
        mid: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_widths = tuple(width * 2**level for level in range(_LEVELS))
        self.decoder_widths = self.encoder_widths[-2::-1]
        self.encoder = ResNet34Encoder(channels, width=width, dimensions=2, mid=mid)
        self.dropout = dropout_or_nothing(nn.Dropout, dropout)
        self.decoder = UNet2dDecoder(classes, width=width, upsampling=decoder)
        initialize(self, init)

    def forward(self, image: Tensor) -> Output:
        """Segment images (B, C, X, Y)."""
        *finer, coarsest = self.encoder(image)
        encoder = (*finer, self.dropout(coarsest))
        logits, decoder = self.decoder(encoder)
        return Output(logits, encoder, decoder)


def _normalized(
    inputs: int, outputs: int, dimensions: Literal[2, 3], *, kernel: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution without bias that keeps the size (or divides it by the stride), and batch normalization."""
    convolution, normalization = _LAYERS[dimensions]
    return nn.Sequential(
        convolution(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False), normalization(outputs)
    )
