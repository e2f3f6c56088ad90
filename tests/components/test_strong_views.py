from __future__ import annotations

import pytest
import torch

from semivox.components.strong_views import StrongView, scale_intensity

PLAIN = {"noise": "none", "std": 0.1, "clip": 0.2, "amplitude": 0.3, "cutmix": False}


def _image(space=(16, 16, 4), samples=3):
    return torch.randn(samples, 1, *space, generator=torch.Generator().manual_seed(0))


def test_without_noise_and_cutmix_nothing_changes():
    image = _image()
    found, splice = StrongView(**PLAIN)(image)
    assert torch.equal(found, image)
    assert torch.equal(splice(image[:, 0]), image[:, 0])


@pytest.mark.parametrize(("noise", "largest"), [("gaussian", 0.2), ("uniform", 0.3)])
def test_noise_is_of_the_kind_and_the_size_asked_for(noise, largest):
    torch.manual_seed(0)
    image = torch.zeros(2, 1, 32, 32, 8)
    found, _ = StrongView(**{**PLAIN, "noise": noise})(image)
    assert found.abs().max().item() == pytest.approx(largest, rel=0.01)
    assert found.std().item() == pytest.approx({"gaussian": 0.0955, "uniform": 0.6 / 12**0.5}[noise], rel=0.02)
    assert image.abs().max() == 0


@pytest.mark.parametrize("space", [(16, 16), (16, 16, 4)], ids=["2d", "3d"])
def test_cutmix_splices_all_that_belongs_to_an_image_alike(space):
    torch.manual_seed(1)
    image = _image(space)
    found, splice = StrongView(**{**PLAIN, "cutmix": True})(image)
    assert sorted(splice.partner.tolist()) == [0, 1, 2]
    own = found == image
    assert 0 < own.sum() < own.numel()
    assert torch.equal((found[:, 0] > 0).long(), splice((image[:, 0] > 0).long()))
    for sample, partner in enumerate(splice.partner.tolist()):
        expected = torch.where(splice.mask[sample], image[sample, 0], image[partner, 0])
        assert torch.equal(found[sample, 0], expected)


def test_intensities_are_scaled_by_one_factor_a_sample_and_clipped():
    torch.manual_seed(0)
    image = torch.rand(400, 1, 2, 2).clamp(0.1, 1)
    found = scale_intensity(image, 0.25)
    assert found.min() >= 0
    assert found.max() == 1
    factors = [one[one < 1] / other[one < 1] for one, other in zip(found, image, strict=True) if (one < 1).any()]
    assert all(values.max() - values.min() < 1e-5 for values in factors)
    firsts = torch.stack([values[0] for values in factors])
    assert firsts.min().item() == pytest.approx(0.75, abs=0.01)
    assert firsts.max().item() == pytest.approx(1.25, abs=0.01)


def test_no_spread_leaves_intensities_outside_the_range_alone():
    image = _image()
    assert scale_intensity(image, 0.0) is image
