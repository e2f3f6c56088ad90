"""Small networks on rows of voxel features: projection and prediction heads, without a change of modes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_MOMENTUM = 0.1
"""Share of a step's statistics in the running ones, as in PyTorch."""
_EPSILON = 1e-5
"""Added to the variance, as in PyTorch."""


class RowNorm(nn.Module):
    """Batch normalization of rows, of which only some count.

    With all rows counted it equals ``nn.BatchNorm1d``. Rows that do not count are normalized too, and change nothing:
    so a fixed number of rows can be computed with, and nothing waits for the device to say how many there are.

    Args:
        channels: width of a row.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, rows: Tensor, counted: Tensor | None) -> Tensor:
        """Normalize rows (n, channels); at least float32.

        Args:
            rows: any floating type.
            counted: (n,) boolean, the rows whose statistics are used in training mode and enter the running ones (if
                there are two or more). None: the running statistics are used, and left as they are, in either mode.
        """
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.type(torch.promote_types(rows.dtype, self.weight.dtype))
            mean, variance = self.running_mean, self.running_var
            if counted is not None and self.training:
                mean, variance = self._statistics(rows, counted)
            scale = (variance + _EPSILON).rsqrt() * self.weight
            return torch.addcmul(self.bias - mean * scale, rows, scale)

    def _statistics(self, rows: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        weight = counted.type(rows.dtype)
        count = weight.sum()
        share = weight / count.clamp(min=1)
        mean = share @ rows  # a product with a vector: no weighted copy of the rows
        variance = share @ (rows - mean).square()
        with torch.no_grad():
            momentum = _MOMENTUM * (count > 1).type(rows.dtype)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.copy_(torch.lerp(self.running_mean, mean, momentum))
            self.running_var.copy_(torch.lerp(self.running_var, unbiased, momentum))
        return mean, variance


class RowMLP(nn.Module):
    """Linear, normalization, ReLU, linear, on rows.

    Args:
        inputs: width of an input row.
        outputs: width of the hidden and of the output rows.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, outputs)
        self.norm = RowNorm(outputs)
        self.second = nn.Linear(outputs, outputs)

    def forward(self, rows: Tensor, counted: Tensor | None) -> Tensor:
        """Map rows (n, inputs) to (n, outputs); ``counted`` as in :meth:`RowNorm.forward`."""
        outputs: Tensor = self.second(functional.relu(self.norm(self.first(rows), counted)))
        return outputs


class EmbeddingHead(nn.Module):
    """Projection ``g`` and prediction ``h`` of voxel features (CAML; BYOL's pair of heads).

    Parameters for 16 features: 5,376 + 8,448 at width 64, 1,664 + 2,176 at width 32.

    Args:
        inputs: channels of a feature.
        width: c', channels of an embedding.
        predict: whether there is a prediction head.
    """

    def __init__(self, inputs: int, width: int, *, predict: bool = True) -> None:
        super().__init__()
        self.projection = RowMLP(inputs, width)
        self.prediction = RowMLP(width, width) if predict else None

    def forward(self, rows: Tensor, counted: Tensor) -> Tensor:
        """Queries ``h(g(e))`` (n, width) of features (n, inputs), with the statistics of the counted rows."""
        projected: Tensor = self.projection(rows, counted)
        return projected if self.prediction is None else self.prediction(projected, counted)

    @torch.no_grad()
    def remembered(self, rows: Tensor) -> Tensor:
        """Keys ``g(e)`` (n, width) with the running statistics: no gradient, nothing changes, whatever the mode."""
        keys: Tensor = self.projection(rows, None)
        return keys
