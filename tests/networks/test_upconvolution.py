from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semivox.inference.evaluation import ActivatedConvolution, evaluation_twin, joined_activation_works
from semivox.networks.upconvolution import UpConvolution2d, UpConvolution3d

LAYERS = {2: (UpConvolution2d, nn.ConvTranspose2d, nn.BatchNorm2d), 3: (UpConvolution3d, nn.ConvTranspose3d,
                                                                        nn.BatchNorm3d)}


def gradients(layer: nn.Module, image: Tensor, *, half: bool = False) -> dict[str, Tensor]:
    """Gradients of the weights and of the image for a loss that tells the voxels apart."""
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        maps = layer(image)
    pattern = torch.linspace(-1, 1, maps.numel()).reshape(maps.shape) ** 2
    (maps.float() * pattern).sum().backward()
    assert image.grad is not None
    return {"maps": maps.detach(), "image": image.grad, **{name: weight.grad for name, weight in
                                                           layer.named_parameters() if weight.grad is not None}}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "bias": False}, {"stride": 3, "output_padding": 1}])
def test_results_and_gradients_are_those_of_the_layer_of_pytorch(dimensions: int, options: dict[str, int],
                                                                 half: bool) -> None:
    ours, theirs, _ = LAYERS[dimensions]
    torch.manual_seed(0)
    mine = ours(4, 6, 2, **options)
    other = theirs(4, 6, 2, **options)
    other.load_state_dict(mine.state_dict())
    image = torch.randn(2, 4, *[5, 4, 3][:dimensions])
    found, expected = gradients(mine, image, half=half), gradients(other, image, half=half)
    assert found.keys() == expected.keys()
    assert torch.equal(found["maps"], expected["maps"])
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0.01 if half else 1e-5, atol=0.02 if half else 1e-4)


def test_a_frozen_bias_gets_no_gradient() -> None:
    layer = UpConvolution3d(2, 2, 2, stride=2)
    assert layer.bias is not None
    layer.bias.requires_grad_(False)
    layer(torch.randn(1, 2, 3, 3, 3)).sum().backward()
    assert layer.bias.grad is None
    assert layer.weight.grad is not None


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_joins_it_with_what_follows(dimensions: int) -> None:
    kind, _, normalization = LAYERS[dimensions]
    row = nn.Sequential(kind(3, 4, 2, stride=2), normalization(4), nn.ReLU()).eval()
    twin = evaluation_twin(row, precision="fp32", device="cpu")
    image = torch.randn(1, 3, *[4, 4, 4][:dimensions])
    torch.testing.assert_close(twin(image), row(image), rtol=1e-4, atol=1e-4)
    kinds = [type(module) for module in twin.children()]
    assert kinds[1:] == [nn.Identity, nn.Identity if joined_activation_works(torch.float32) else nn.ReLU]
    assert kinds[0] is (ActivatedConvolution if joined_activation_works(torch.float32) else kind)
