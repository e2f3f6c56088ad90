from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from semivox.components.largest_component import largest_component, largest_component_later


def by_scipy(labels: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        components, _ = ndimage.label(labels == value, structure=np.ones((3,) * labels.ndim))
        kept[components == np.bincount(components.ravel())[1:].argmax() + 1] = value
    return kept


def some_labels(*shape: int, classes: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randint(1, classes, shape, generator=generator)
    return dense * (torch.rand(shape, generator=generator) < 0.25)


@pytest.mark.parametrize("shape", [(5, 19, 17), (6, 11, 9, 8)])
def test_each_sample_is_filtered_alone_as_scipy_does(shape: tuple[int, ...]) -> None:
    label = some_labels(*shape)
    label[2] = 0
    expected = np.stack([by_scipy(sample) for sample in label.numpy()])
    kept = largest_component(label)
    np.testing.assert_array_equal(kept.numpy(), expected)
    assert kept.dtype == label.dtype


def test_the_work_is_done_at_the_call_and_on_what_the_labels_were() -> None:
    label = some_labels(2, 9, 9, 9)
    expected = largest_component(label)
    later = largest_component_later(label)
    label.zero_()
    assert torch.equal(later(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_type_and_input_are_kept(dtype: torch.dtype) -> None:
    label = some_labels(2, 8, 8).to(dtype)
    before = label.clone()
    kept = largest_component(label)
    assert kept.dtype == dtype
    assert torch.equal(label, before)
    assert torch.equal(largest_component(kept), kept)


def test_an_empty_batch_and_empty_samples_stay_empty() -> None:
    assert largest_component(torch.zeros(0, 4, 4, dtype=torch.int64)).shape == (0, 4, 4)
    assert not largest_component(torch.zeros(2, 4, 4, dtype=torch.int64)).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_labels_on_a_gpu_come_back_to_it() -> None:
    label = some_labels(4, 12, 10, 8)
    kept = largest_component(label.cuda())
    assert kept.is_cuda
    assert torch.equal(kept.cpu(), largest_component(label))
