from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semivox.inference import sliding
from semivox.inference.sliding import Execution, predict, predict_labels, probability_slabs
from semivox.inference.windows import Window, padding, window_importance, window_starts

NetworkFactory = Callable[..., nn.Module]
CASES = [
    pytest.param((20, 17, 13), Window((8, 8, 8), (4, 4, 4)), id="odd sizes"),
    pytest.param((13, 17, 40), Window((8, 8, 16), (3, 5, 7), "gaussian"), id="sweep along z, gaussian"),
    pytest.param((5, 30, 6), Window((8, 8, 8), (4, 4, 4), "gaussian"), id="smaller than the patch"),
    pytest.param((3, 4, 5), Window((8, 8, 8), (4, 4, 4)), id="smaller everywhere"),
    pytest.param((11, 8, 8), Window((8, 8, 8), (1, 1, 1)), id="stride of one voxel"),
    pytest.param((9, 1, 12), Window((4, 4, 4), (2, 2, 2)), id="one voxel thick"),
    pytest.param((12, 12, 12), Window((4, 4, 4), (9, 9, 9)), id="stride above the patch"),
    pytest.param((14, 11, 5), Window((8, 8, 1), (4, 4, 1), "uniform", 2), id="slices"),
    pytest.param((5, 11, 3), Window((8, 8, 1), (4, 4, 1), "gaussian", 2), id="small slices"),
]


def random_image(size: tuple[int, ...], channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, *size)).astype(np.float32)


def predict_probabilities(network: nn.Module, image: np.ndarray, window: Window,
                          execution: Execution | None = None) -> np.ndarray:
    probabilities = predict(network, image, window, execution=execution, probabilities=True).probabilities
    assert probabilities is not None
    return probabilities


def naive_probabilities(network: nn.Module, image: np.ndarray, window: Window) -> np.ndarray:
    """All windows one by one, into full-size float64 arrays, as common descriptions of the procedure have it."""
    before_after = padding(image.shape[1:], window.patch_size)
    padded = np.pad(image, ((0, 0), *before_after))
    weight = window_importance(window.patch_size, window.importance).astype(np.float64)
    steps = [min(s, p) for s, p in zip(window.strides, window.patch_size, strict=True)]
    axes = [window_starts(n, p, s) for n, p, s in zip(padded.shape[1:], window.patch_size, steps, strict=True)]
    total, visits = None, np.zeros(padded.shape[1:])
    for x in axes[0]:
        for y in axes[1]:
            for z in axes[2]:
                px, py, pz = window.patch_size
                region = (slice(None), slice(x, x + px), slice(y, y + py), slice(z, z + pz))
                patch = torch.from_numpy(padded[region].copy())[None]
                with torch.no_grad():
                    patch = patch[..., 0] if window.dimensions == 2 else patch
                    answer = network(patch)[0].double().numpy().reshape(-1, px, py, pz)
                total = np.zeros((len(answer), *padded.shape[1:])) if total is None else total
                total[region] += weight * answer
                visits[region[1:]] += weight
    inner = tuple(slice(b, n - a) for (b, a), n in zip(before_after, visits.shape, strict=True))
    return (total / visits)[(slice(None), *inner)]


@pytest.mark.parametrize(("size", "window"), CASES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_equals_the_naive_accumulation(size: tuple[int, int, int], window: Window, batch_size: int,
                                       mixing_network: NetworkFactory) -> None:
    network = mixing_network(channels=2, classes=5, dimensions=window.dimensions)
    image = random_image(size, 2)
    expected = naive_probabilities(network, image, window)
    execution = Execution(batch_size=batch_size)
    probabilities = predict_probabilities(network, image, window, execution=execution)
    assert probabilities.shape == (5, *size)
    np.testing.assert_allclose(probabilities, expected, atol=6e-4)  # half precision
    labels = predict_labels(network, image, window, execution=execution)
    assert labels.dtype == np.uint8
    assert (labels == expected.argmax(0)).mean() >= 0.9999


def test_slabs_cover_the_scan_once_and_are_exact_to_single_precision(mixing_network: NetworkFactory) -> None:
    image, window = random_image((21, 9, 10)), Window((8, 8, 8), (3, 4, 4), "gaussian")
    network = mixing_network(classes=4)
    visits, result = np.zeros(image.shape[1:], int), np.zeros((4, *image.shape[1:]))
    for slab in probability_slabs(network, image, window):
        visits[slab.region()] += 1
        result[(slice(None), *slab.region())] = slab.probabilities.numpy()
    assert (visits == 1).all()
    np.testing.assert_allclose(result, naive_probabilities(network, image, window), atol=1e-5)
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)


def test_identity_model_returns_the_rounded_image(threshold_network: NetworkFactory) -> None:
    image = np.random.default_rng(1).integers(0, 5, (1, 19, 23, 11)).astype(np.float32)
    labels = predict_labels(threshold_network(5), image, Window((8, 8, 8), (5, 5, 5), "gaussian"))
    np.testing.assert_array_equal(labels, image[0])


def test_flips_change_nothing_for_an_equivariant_network(threshold_network: NetworkFactory) -> None:
    image = np.random.default_rng(2).integers(0, 3, (1, 12, 9, 10)).astype(np.float32)
    window, network = Window((8, 8, 8), (4, 4, 4)), threshold_network(3)
    plain = predict_probabilities(network, image, window)
    flipped = predict_probabilities(network, image, window, execution=Execution(flips=(0, 1, 2)))
    np.testing.assert_allclose(plain, flipped, atol=1e-3)
    calls_plain = len(network.calls)
    predict_labels(network, image, window, execution=Execution(flips=(0, 1, 2)))
    assert len(network.calls) - calls_plain == 8 * calls_plain // 9


def test_flips_are_the_mean_over_all_combinations(mixing_network: NetworkFactory) -> None:
    network, image = mixing_network(), random_image((8, 8, 8))
    window, axes = Window((8, 8, 8), (8, 8, 8)), [(), (0,), (2,), (0, 2)]
    with torch.no_grad():
        expected = sum(np.flip(network(torch.from_numpy(np.flip(image, [1 + a for a in f]).copy())[None])[0].numpy(),
                               [1 + a for a in f]) for f in axes) / 4
    averaged = predict_probabilities(network, image, window, execution=Execution(flips=(0, 2)))
    np.testing.assert_allclose(averaged, expected, atol=6e-4)
    assert np.abs(predict_probabilities(network, image, window) - expected).max() > 0.01


def test_flips_of_slices_skip_the_third_axis(threshold_network: NetworkFactory) -> None:
    network = threshold_network(2)
    predict_labels(network, random_image((8, 8, 1)), Window((8, 8, 1), (8, 8, 1), "uniform", 2),
                   execution=Execution(flips=(0, 1, 2)))
    assert network.calls == [(1, 1, 8, 8)] * 4


def test_windows_are_batched(threshold_network: NetworkFactory) -> None:
    network = threshold_network(2)
    predict_labels(network, random_image((20, 8, 8)), Window((8, 8, 8), (4, 4, 4)), execution=Execution(batch_size=3))
    assert [shape[0] for shape in network.calls] == [3, 1]


def test_module_modes_are_restored_one_by_one(mixing_network: NetworkFactory) -> None:
    frozen, dropout = nn.BatchNorm3d(1).eval(), nn.Dropout(0.9)
    network = nn.Sequential(frozen, dropout, mixing_network())
    network.training = True
    image, window = random_image((8, 8, 8)), Window((8, 8, 8), (8, 8, 8))
    first, second = (predict_probabilities(network, image, window) for _ in range(2))
    np.testing.assert_array_equal(first, second)  # dropout was off
    assert (network.training, frozen.training, dropout.training) == (True, False, True)


def test_modes_are_restored_after_a_failure() -> None:
    class Failing(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("no")

    network = Failing().train()
    with pytest.raises(RuntimeError, match="no"):
        predict_labels(network, random_image((8, 8, 8)), Window((8, 8, 8), (8, 8, 8)))
    assert network.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    class Broken(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.full((len(image), 2, *image.shape[2:]), value)

    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        predict_labels(Broken(), random_image((8, 8, 8)), Window((8, 8, 8), (8, 8, 8)))


def test_many_classes_get_a_wider_type(threshold_network: NetworkFactory) -> None:
    image = np.random.default_rng(0).integers(0, 300, (1, 6, 6, 6)).astype(np.float32)
    labels = predict_labels(threshold_network(300), image, Window((4, 4, 4), (2, 2, 2)))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, image[0])


def test_bf16_stays_near_fp32(mixing_network: NetworkFactory) -> None:
    image, window, network = random_image((12, 8, 8)), Window((8, 8, 8), (4, 4, 4)), mixing_network()
    exact = predict_probabilities(network, image, window)
    short = predict_probabilities(network, image, window, execution=Execution(precision="bf16"))
    assert 0 < np.abs(exact - short).max() < 0.1


def test_memory_does_not_grow_with_classes_times_volume() -> None:
    classes, side = 16, 96

    class Constant(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.full((len(image), classes, *image.shape[2:]), 1 / classes)

    image = np.zeros((1, side, side, side), np.float32)
    tracemalloc.start()
    predict_labels(Constant(), image, Window((16, 16, 16), (8, 8, 8)), execution=Execution(batch_size=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ring = classes * 16 * side * side * 4
    assert peak < 1.5 * ring < 0.26 * classes * side**3 * 4


def test_large_rings_lie_in_a_file_and_give_the_same(mixing_network: NetworkFactory,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    image, window, network = random_image((20, 9, 9)), Window((8, 8, 8), (4, 4, 4)), mixing_network()
    expected = predict_labels(network, image, window)
    from_memory = sliding.scratch_array
    kinds: list[type] = []

    def in_a_file(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        array = from_memory(shape, dtype, memory_limit_bytes=0)
        kinds.append(type(array))
        return array

    monkeypatch.setattr(sliding, "scratch_array", in_a_file)
    np.testing.assert_array_equal(predict_labels(network, image, window), expected)
    assert kinds == [np.memmap]
