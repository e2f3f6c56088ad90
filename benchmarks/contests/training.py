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


def images_and_labels(setup: Setup) -> tuple[torch.Tensor, torch.Tensor]:
    """The same random batch for every side."""
    import torch

    rng = np.random.default_rng(0)
    patch = patch_of(setup)
    coarse = rng.random((SAMPLES, 4, 4, 4))
    label = coarse.repeat(patch[0] // 4, 1).repeat(patch[1] // 4, 2).repeat(patch[2] // 4, 3) > 0.7
    image = rng.standard_normal((SAMPLES, 1, *patch), np.float32) + label[:, None]
    return torch.from_numpy(image.astype(np.float32)).to(setup.device), torch.from_numpy(
        label.astype(np.int64)).to(setup.device)


def ours(setup: Setup) -> Work:
    """As the engine takes a step on this machine: its memory setting, memory format and precision."""
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    return eager_bf16(setup)


def eager_bf16(setup: Setup) -> Work:
    """bf16 autocast and channels-last weights, nothing else."""
    import torch

    from semivox.losses.supervised import ce_dice
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = VNet(1, 2).to(setup.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image, label = images_and_labels(setup)
    image = image.contiguous(memory_format=torch.channels_last_3d)

    def work() -> float:
        torch.manual_seed(1)
        with torch.autocast(setup.device, torch.bfloat16):
            logits = network(image).logits
        loss = ce_dice(logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return work


def plain(setup: Setup) -> Work:
    """As public training scripts do it: fp32 (TF32 convolutions on a GPU), plain layout, gradients set to zero."""
    import torch

    from semivox.losses.supervised import ce_dice
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = VNet(1, 2).to(setup.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image, label = images_and_labels(setup)

    def work() -> float:
        torch.manual_seed(1)
        loss = ce_dice(network(image).logits, label)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return work


def same_loss(ours: float, theirs: float) -> str:
    """The loss of the first step, from the same weights and masks, within 1 %."""
    assert abs(ours - theirs) <= 0.01 * abs(theirs), f"losses {ours:.4f} and {theirs:.4f}"
    return f"loss of the first step {ours:.4f} and {theirs:.4f} (tolerance 1 %)"


OURS = Side("Semivox", ours)
CONTESTS = (
    Contest("train_vnet", "training step, V-Net, 4 patches", OURS, Side("eager fp32, plain layout", plain), same_loss,
            target=6, repeats=5),
    Contest("train_vnet_bf16", "training step, V-Net, 4 patches", OURS,
            Side("eager bf16, channels last", eager_bf16), same_loss, repeats=5),
)
