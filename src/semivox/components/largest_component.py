"""The largest connected component of each class of a batch: a filter of pseudo-labels that works on the host."""

from __future__ import annotations

from collections.abc import Callable

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
    """Begin :func:`largest_component`: the labels start on their way to the host, the work is done at the call.

    A GPU computes what is asked of it between the two while the host filters. The samples are filtered one after the
    other: finding components holds Python's lock, and threads that wait for it are no faster.

    Args:
        label: (B, *space) integers 0..K-1.

    Returns:
        A function that waits for the copy, filters the samples and returns the result.
    """
    host, wait = _copy_to_host(label.to(torch.int16, copy=True))  # a quarter of the bytes

    def result() -> Tensor:
        wait()
        kept = torch.empty_like(host)
        for sample, out in zip(host.numpy(), kept.numpy(), strict=True):
            largest_component_of_map(sample, out)
        return kept.to(label.device).to(label.dtype)

    return result


def _copy_to_host(values: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """The values in host memory, and a function that waits until they are there."""
    if values.device.type != "cuda":
        return values.cpu().contiguous(), lambda: None
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    return host, torch.cuda.current_stream(values.device).record_event().synchronize
