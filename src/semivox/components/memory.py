"""FeatureBank: what the labeled cases looked like when a batch last held them."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class FeatureBank(nn.Module):
    """Embeddings of labeled voxels, one slot for each labeled case and class.

    Writing overwrites the slots of the written cases and no others. A slot holds at most ``capacity`` vectors, chosen
    uniformly from those that the case had, and their true number; drawing weighs each vector with the number of
    voxels that it stands for, so a large case counts as if all of its voxels were stored.

    All state is buffers, in half precision: ``cases * classes * capacity * width * 2`` bytes, 64 MiB for 16 cases, 2
    classes, 16,384 vectors of 64. Every rank writes what all ranks have gathered, so ranks hold equal banks.

    Args:
        cases: number of labeled cases.
        classes: K.
        capacity: vectors of a slot.
        width: channels of a vector.
    """

    vectors: Tensor
    counts: Tensor

    def __init__(self, cases: int, classes: int, capacity: int, width: int) -> None:
        super().__init__()
        self.capacity = capacity
        # three dimensions, so that nobody takes it for the weight of a convolution and lays it out anew
        self.register_buffer("vectors", torch.zeros(classes, cases * capacity, width, dtype=torch.float16))
        self.register_buffer("counts", torch.zeros(classes, cases, dtype=torch.int64))

    @property
    def slots(self) -> Tensor:
        """View of the vectors by class and case: (K, cases, capacity, width)."""
        classes, cases = self.counts.shape
        return self.vectors.view(classes, cases, self.capacity, -1)

    def fill(self) -> Tensor:
        """Share of the slots that hold anything: scalar, 0..1."""
        return (self.counts > 0).float().mean()

    @torch.no_grad()
    def write(self, case: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Overwrite the slots of some cases; of a case that occurs twice the last is kept, ranks in order.

        Args:
            case: (L,) integers 0..cases-1.
            vectors: (L, K, n, width) with ``n <= capacity``, chosen uniformly from the case's vectors.
            counts: (L, K) number of vectors that the case has, of which the first ``min(count, n)`` are valid.
        """
        limit = torch.finfo(self.vectors.dtype).max
        vectors = vectors.clamp(-limit, limit).type(self.vectors.dtype)
        case, vectors, counts = (_gathered(values) for values in (case, vectors, counts))
        slots = self.slots[:, :, : vectors.shape[2]]
        for position in range(len(case)):  # one after the other: among equal cases the last one wins on any device
            where = case[position : position + 1]
            slots.index_copy_(1, where, vectors[position].unsqueeze(1))
            self.counts.index_copy_(1, where, counts[position].unsqueeze(1))

    @torch.no_grad()
    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw vectors of each class from all slots, without replacement, weighted by what each stands for.

        Weighted sampling by exponential keys (Efraimidis & Spirakis, 2006); uniform as long as no slot is full.

        Args:
            number: j, vectors of a class, at most ``capacity``.

        Returns:
            ``vectors`` (K * j, width), class by class, and ``drawn`` (K * j,) boolean: false for all vectors of a class
            that has fewer than j.
        """
        stored = self.counts.clamp(max=self.capacity)
        weight = self.counts / stored.clamp(min=1)
        held = torch.arange(self.capacity, device=stored.device) < stored.unsqueeze(2)
        keys = torch.empty(held.shape, device=stored.device).exponential_() / weight.unsqueeze(2).clamp(min=1)
        keys = torch.where(held, keys, torch.inf).flatten(1)
        index = keys.topk(number, dim=1, largest=False).indices
        vectors = self.vectors.take_along_dim(index.unsqueeze(2), dim=1)
        enough = self.counts.sum(1) >= number
        return vectors.flatten(0, 1), enough.repeat_interleave(number)


def _gathered(values: Tensor) -> Tensor:
    """The rows of all ranks, in the order of ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values)
    return torch.cat(parts)
