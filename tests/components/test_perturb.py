from __future__ import annotations

import pytest
import torch

from semivox.components.perturb import gaussian_noise, uniform_noise


def test_gaussian_noise_has_its_spread_and_is_clipped() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 1, 40, 40, 40)
    noise = gaussian_noise(image, std=0.1, clip=0.2) - image
    assert noise.abs().max() <= 0.2 + 1e-6
    assert noise.mean().abs() < 1e-3
    # variance of a normal variable clipped at two standard deviations, by numerical integration: 0.9205 std^2
    assert noise.var() == pytest.approx(0.9205 * 0.1**2, rel=0.02)
    assert (noise.abs() > 0.1999).float().mean() == pytest.approx(0.0455, abs=0.002)


def test_uniform_noise_has_its_spread() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 1, 40, 40, 40)
    noise = uniform_noise(image, amplitude=0.3) - image
    assert noise.abs().max() <= 0.3 + 1e-6
    assert noise.mean().abs() < 2e-3
    assert noise.var() == pytest.approx(0.3**2 / 3, rel=0.02)


@pytest.mark.parametrize("perturb", [gaussian_noise, uniform_noise])
def test_noise_leaves_its_input_alone_and_follows_the_default_generator(perturb) -> None:
    image = torch.randn(1, 2, 6, 6)
    before = image.clone()
    torch.manual_seed(3)
    first = perturb(image)
    second = perturb(image)
    torch.manual_seed(3)
    assert torch.equal(perturb(image), first)
    assert not torch.equal(first, second)
    assert torch.equal(image, before)


def test_noise_of_no_size_is_no_noise() -> None:
    image = torch.randn(1, 1, 5, 5)
    assert torch.equal(gaussian_noise(image, std=0.0), image)
    assert torch.equal(gaussian_noise(image, clip=0.0), image)
    assert torch.equal(uniform_noise(image, amplitude=0.0), image)
