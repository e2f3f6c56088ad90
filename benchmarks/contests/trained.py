"""Networks for contests in prediction, trained on the scans for about ten minutes, so that their labels mean something.

Of a network that knows little, many voxels are near a tie, and rounding decides them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from race import Setup

from contests.scans import image_files, la_scans

if TYPE_CHECKING:
    from torch import nn

STEPS, QUICK_STEPS, TRAINING_CASES = 600, 40, 16
PatchSize = tuple[int, int, int]


def trained_pair(setup: Setup, patch_size: PatchSize) -> nn.Module:
    """Two V-Nets in float32, plain layout, their probabilities averaged; trained on first use."""
    import torch

    from semivox.components.probabilities import Probabilities
    from semivox.networks.vnet import VNet

    torch.manual_seed(0)
    network = Probabilities(*(VNet(1, 2, dropout=0) for _ in range(2)))  # a short training, nothing to regularize
    steps = QUICK_STEPS if setup.quick else STEPS
    path = setup.folder / f"{la_scans(setup).name}_vnet_pair_{steps}.pt"
    if not path.is_file():
        first, second = network.networks
        train(first, setup, patch_size, seed=0, steps=steps)
        second.load_state_dict(first.state_dict())
        train(second, setup, patch_size, seed=1, steps=steps // 4)
        unfinished = path.with_suffix(f".{os.getpid()}")
        torch.save(network.state_dict(), unfinished)
        unfinished.replace(path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(setup.device, memory_format=torch.contiguous_format).eval()


def train(network: nn.Module, setup: Setup, patch_size: PatchSize, *, seed: int, steps: int) -> None:
    """A short training: each batch is a random patch and one around the object.

    Two patches are few for a batch normalization, so the second half of the steps already uses its running numbers,
    as prediction does.
    """
    import torch
    from torch import nn

    from semivox.imaging.files import read_image, read_label
    from semivox.losses.supervised import ce_dice
    from semivox.memory import keep_freed_memory

    rng = np.random.default_rng(seed)
    cases = [(read_image(image).array, read_label(label).array)
             for image, label in image_files(la_scans(setup))[:TRAINING_CASES]]
    network.to(setup.device, memory_format=torch.channels_last_3d).train()
    keep_freed_memory()
    optimizer = torch.optim.AdamW(network.parameters())
    for step in range(steps):
        if step == steps // 2:
            for module in network.modules():
                module.training = not isinstance(module, nn.BatchNorm3d)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        images, labels = zip(*(_patch(*cases[rng.integers(len(cases))], rng, patch_size,
                                      inside=inside) for inside in (False, True)), strict=True)
        with torch.autocast(setup.device, torch.bfloat16):
            logits = network(torch.from_numpy(np.stack(images)[:, None]).to(setup.device)).logits
        loss = ce_dice(logits, torch.from_numpy(np.stack(labels).astype(np.int64)).to(setup.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _patch(image: np.ndarray, label: np.ndarray, rng: np.random.Generator, size: PatchSize, *,
           inside: bool) -> tuple[np.ndarray, np.ndarray]:
    free = np.maximum(np.array(image.shape) - size, 0)
    corner = rng.integers(0, free + 1)
    if inside:
        voxels = np.argwhere(label)
        corner = np.clip(voxels[rng.integers(len(voxels))] - np.array(size) // 2, 0, free)
    region = tuple(slice(c, c + p) for c, p in zip(corner, size, strict=True))
    return image[region].astype(np.float32), label[region]
