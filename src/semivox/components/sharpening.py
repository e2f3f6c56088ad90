"""Sharpening: soft answers become more certain, and stay differentiable."""

from __future__ import annotations

from torch import Tensor


def sharpen(probabilities: Tensor, temperature: float = 0.1) -> Tensor:
    """Sharpen each class against all others: ``sh(q) = q^(1/T) / (q^(1/T) + (1 - q)^(1/T))`` (MC-Net, CAML).

    0, 1/2 and 1 stay where they are, and the function is monotone. With two classes the result still sums to 1 over
    them; with more it need not, as each class is sharpened on its own.

    Args:
        probabilities: q, any shape, in [0, 1].
        temperature: T, in [0.01, 1]; 1 changes nothing. Below 0.01 both powers could vanish.

    Returns:
        The same shape, float32, in [0, 1]. Nothing is detached.
    """
    if not 0.01 <= temperature <= 1:
        raise ValueError(f"temperature must be in [0.01, 1], got {temperature}")
    probabilities = probabilities.float()
    power = probabilities.pow(1 / temperature)
    return power / (power + (1 - probabilities).pow(1 / temperature))
