from __future__ import annotations

import pytest
import torch

from semivox.components.sharpening import sharpen


def test_fixed_points_and_monotony() -> None:
    values = torch.linspace(0, 1, 101)
    sharp = sharpen(values)
    assert sharp[[0, 50, 100]].tolist() == [0.0, pytest.approx(0.5), 1.0]
    assert (sharp.diff() >= 0).all()
    assert (sharp[51:100] > values[51:100]).all()
    assert (sharp[1:50] < values[1:50]).all()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_each_channel_is_the_equation(temperature: float) -> None:
    probs = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    expected = [
        (q ** (1 / temperature)) / (q ** (1 / temperature) + (1 - q) ** (1 / temperature))
        for q in probs.double().flatten().tolist()
    ]
    assert sharpen(probs, temperature).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_two_classes_still_sum_to_one() -> None:
    probs = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    probs = torch.cat([probs, 1 - probs], 1)
    torch.testing.assert_close(sharpen(probs).sum(1), torch.ones(3, 4, 4))


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_gradient_is_finite_everywhere_and_float32_under_autocast(temperature: float) -> None:
    values = torch.tensor([0.0, 1e-30, 0.5, 1 - 1e-7, 1.0], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        sharp = sharpen(values, temperature)
    sharp.sum().backward()
    assert sharp.dtype == torch.float32
    assert torch.isfinite(sharp).all()
    assert torch.isfinite(values.grad).all()
    assert values.grad[2] == pytest.approx(1 / temperature)  # its slope in the middle


def test_a_temperature_at_which_it_could_vanish_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        sharpen(torch.tensor([0.5]), 0.001)
