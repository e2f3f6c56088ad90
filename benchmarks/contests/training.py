"""A training step of the V-Net: forward, backward, update, on one batch of four patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from race import Contest, Setup, Side, Work

if TYPE_CHECKING:
    import torch

PATCH, QUICK_PATCH, SAMPLES = (112, 112, 80), (64, 64, 48), 4


def patch_of(setup: Setup) -> tuple[int, int, int]:
    """Patch size: the literature's for the left atrium, or a smaller one for the quick form."""
    return QUICK_PATCH if setup.quick else PATCH


def batch_of(patch: tuple[int, ...], samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same random batch for every side: images and labels of two classes."""
    import torch

    rng = np.random.default_rng(0)
    label = rng.random((samples, 4, 4, 4)) > 0.7
    for axis, side in enumerate(patch, start=1):
        label = label.repeat(side // 4, axis)
    image = rng.standard_normal((samples, 1, *patch), np.float32) + label[:, None]
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(label.astype(np.int64))


def step_of(patch: tuple[int, ...], samples: int, device: str, *, public: bool = False, compiled: bool = False) -> Work:
    """A step in bf16 autocast with channels-last weights and images; returns its loss."""
    import torch

    from contests.plain_parts import public_layers
    from semivox.losses.supervised import ce_dice
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = VNet(1, 2).to(device, memory_format=torch.channels_last_3d)
    if public:
        public_layers(network)
    if compiled:
        network.compile()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image, label = (each.to(device) for each in batch_of(patch, samples))
    image = image.contiguous(memory_format=torch.channels_last_3d)

    def work() -> torch.Tensor:
        torch.manual_seed(1)
        with torch.autocast(device, torch.bfloat16):
            logits = network(image).logits
        loss = ce_dice(logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return work


def ours(setup: Setup) -> Work:
    """As the engine takes a step: its allocation of memory on a CPU; on a GPU compiled (``engine.compile=true``)."""
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    return step_of(patch_of(setup), SAMPLES, setup.device, compiled=setup.device == "cuda")


def eager_bf16(setup: Setup) -> Work:
    """bf16 autocast and channels-last weights, nothing else."""
    return step_of(patch_of(setup), SAMPLES, setup.device, public=True)


def plain(setup: Setup) -> Work:
    """As public training scripts do it: fp32 (TF32 convolutions on a GPU), plain layout, gradients set to zero."""
    import torch

    from contests.plain_parts import public_layers
    from semivox.losses.supervised import ce_dice
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = public_layers(VNet(1, 2)).to(setup.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image, label = (each.to(setup.device) for each in batch_of(patch_of(setup), SAMPLES))

    def work() -> torch.Tensor:
        torch.manual_seed(1)
        loss = ce_dice(network(image).logits, label)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return work


def same_loss(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    """The loss of the first step, from the same weights and masks, within 1 %."""
    ours, theirs = float(ours), float(theirs)
    assert abs(ours - theirs) <= 0.01 * abs(theirs), f"losses {ours:.4f} and {theirs:.4f}"
    return f"loss of the first step {ours:.4f} and {theirs:.4f} (tolerance 1 %)"


OURS = Side("Semivox", ours)
CONTESTS = (
    Contest("train_vnet", "training step, V-Net, 4 patches", OURS, Side("eager fp32, plain layout", plain), same_loss,
            target=6, repeats=5, warmups=3),
    Contest("train_vnet_bf16", "training step, V-Net, 4 patches", OURS,
            Side("eager bf16, channels last", eager_bf16), same_loss, repeats=5, warmups=3),
)
