"""The largest connected component of each class of a batch: a filter of pseudo-labels that works on the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from semivox.imaging.largest_component import largest_component as largest_component_of_map


def largest_component(label: Tensor) -> Tensor:
    """Keep the largest component of each foreground class of each sample; the rest becomes background.

    See :func:`semivox.imaging.largest_component.largest_component` for what is connected and for ties.

    Args:
        label: (B, *space) integers 0..K-1, on any device; not changed.

    Returns:
        (B, *space), type and device of ``label``, no gradient.
    """
    return largest_component_later(label)()


@torch.no_grad()
def largest_component_later(label: Tensor) -> Callable[[], Tensor]:
    """Begin :func:`largest_component`: labels on a GPU start on their way to the host, the work is done at the call.

    The GPU computes what is asked of it between the two while the host filters.

    Args:
        label: (B, *space) integers 0..K-1; not to be changed before the call.

    Returns:
        A function that waits for the copy, filters the samples in a pool of threads and returns the result.
    """
    host, wait = _host_copy(label)

    def result() -> Tensor:
        wait()
        kept = torch.empty_like(host)
        with ThreadPoolExecutor(min(max(1, len(host)), os.cpu_count() or 1)) as pool:  # NumPy's part is side by side
            list(pool.map(largest_component_of_map, host.numpy(), kept.numpy()))
        return kept.to(label.device).to(label.dtype)

    return result


def _host_copy(label: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """The labels in host memory, C-contiguous, and a function that waits until they are there."""
    if label.device.type != "cuda":
        return label.cpu().contiguous(), lambda: None
    narrow = label.to(torch.int16)  # a quarter of the bytes
    host = torch.empty(narrow.shape, dtype=narrow.dtype, pin_memory=True)
    host.copy_(narrow, non_blocking=True)
    return host, torch.cuda.current_stream(label.device).record_event().synchronize
