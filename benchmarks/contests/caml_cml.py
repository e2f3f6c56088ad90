"""A training step of CAML and of CML: as their released codes take it, as plain bf16, and as Semivox takes it.

Batches as published: CAML 2 labeled and 2 unlabeled patches, CML 4 and 4 (self-training). Weights of the terms as at
the end of the ramp. CAML has the embedding width of its public code (profile ``released``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from race import Contest, Setup, Side, Work

from contests.training import PATCH, batch_of

if TYPE_CHECKING:
    import torch

    from semivox.methods.base import Method
    from semivox.types import Batch

LABELED = {"caml": 2, "cml": 4}
SETTINGS: dict[str, dict[str, Any]] = {"caml": {"embed_dim": 32}, "cml": {}}
TERMS = {"caml": ("supervised", "cross", "occ"), "cml": ("supervised", "dis", "unlabeled")}
LABELED_CASES = 8
QUICK_PATCH = (48, 48, 32)


def method_of(name: str, setup: Setup, *, public: bool = False) -> Method:
    """The method in training mode, with the same weights each time; ``public``: in the layers of public code."""
    import torch

    from contests.plain_parts import public_layers
    from semivox.components.attention import CrossSampleAttention
    from semivox.methods import get_method
    from semivox.networks import network_factory
    from semivox.types import Task

    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=LABELED_CASES)
    torch.manual_seed(0)
    kind = get_method(name)
    method = kind(kind.Config(**SETTINGS[name]), network_factory("vnet", task=task), task).train().to(setup.device)
    for module in method.modules():
        if isinstance(module, CrossSampleAttention):
            module.register_forward_hook(seed_anew)
    return public_layers(method) if public else method


def seed_anew(*_: Any) -> None:
    """Let both sides drop the same channels after the attention, for which they draw different numbers."""
    import torch

    torch.manual_seed(2)


def method_batch(name: str, setup: Setup) -> Batch:
    """The same random batch each time."""
    import torch

    from semivox.types import Batch

    labeled = LABELED[name]
    image, label = (values.to(setup.device) for values in batch_of(QUICK_PATCH if setup.quick else PATCH, 2 * labeled))
    return Batch(image, label[:labeled], torch.arange(2 * labeled, device=setup.device))


def semivox_step(name: str, setup: Setup, *, public: bool = False) -> Work:
    """Forward in bf16 autocast on channels-last images, backward, SGD, what follows the step; returns the terms."""
    import torch

    from semivox.types import Progress

    method = method_of(name, setup, public=public).to(memory_format=torch.channels_last_3d)
    batch = method_batch(name, setup)
    batch = batch._replace(image=batch.image.contiguous(memory_format=torch.channels_last_3d))
    groups = method.parameters_for("main")
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, weight_decay=1e-4)
    last = Progress("selftrain", 14_999, 15_000, 14_999, 15_000)

    def work() -> torch.Tensor:
        torch.manual_seed(1)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(setup.device, torch.bfloat16):
            output = method(batch, last)
        output.loss.backward()
        optimizer.step()
        with torch.no_grad():
            method.after_step(last)
        return torch.stack([output.terms[term] for term in TERMS[name]])

    return work


def ours(name: str, setup: Setup) -> Work:
    """As the engine takes a step: with its allocation of memory on a CPU."""
    from semivox.memory import keep_freed_memory

    keep_freed_memory()
    return semivox_step(name, setup)


def bf16(name: str, setup: Setup) -> Work:
    """The same step in eager bf16 on channels-last images, with PyTorch's own functions and allocation of memory.

    Written plainly: classes by ``max``, similarities of all voxels at once, differentiated by autograd.
    """
    from contests import plain_parts

    plain_parts.install()
    return semivox_step(name, setup, public=True)


def released(name: str, setup: Setup) -> Work:
    """As the released code takes a step: ``benchmarks/released``."""
    import torch

    if name == "caml":
        from released.caml import ReleasedCAML as Released
    else:
        from released.cml import ReleasedCML as Released
    step, batch = Released(method_of(name, setup, public=True)), method_batch(name, setup)

    def work() -> Any:
        torch.manual_seed(1)
        return step(batch)

    return work


def same_terms(names: tuple[str, ...], shares: tuple[float, ...], ours: torch.Tensor, theirs: torch.Tensor) -> str:
    """Each term of the first step's loss within its share; from equal weights, images and dropped channels."""
    parts = []
    for name, share, mine, other in zip(names, shares, ours.tolist(), theirs.tolist(), strict=True):
        assert abs(mine - other) <= share * abs(other), f"{name}: {mine:.4f} and {other:.4f}, allowed {share:.1%}"
        parts.append(f"{name} {mine:.3f}/{other:.3f} ({share:.1%})")
    return "first step: " + ", ".join(parts)


def same_caml(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    """Supervised within 0.5 %, cross within 1 %, the correlation term within 10 %.

    The attention drops other weights, and other prototypes are drawn.
    """
    return same_terms(TERMS["caml"], (0.005, 0.01, 0.1), ours, theirs)


def same_cml(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    """All terms within 0.5 %."""
    return same_terms(TERMS["cml"], (0.005, 0.005, 0.005), ours, theirs)


def same_cml_and_labels(ours: torch.Tensor, theirs: Any) -> str:
    """The terms, and of equal labels the same voxels are left by our component filter as by scikit-image's."""
    import torch

    from semivox.components.largest_component import largest_component

    raw = torch.from_numpy(theirs.raw).flatten(0, 1)
    filtered = largest_component(raw).numpy().reshape(theirs.filtered.shape)
    assert np.array_equal(filtered, theirs.filtered), "the component filters differ"
    return same_cml(ours, theirs.terms) + "; component filter equal to scikit-image's in every voxel"


def contests_of(name: str, same: Any, same_released: Any) -> tuple[Contest, Contest]:
    """Against the released step and against plain bf16."""
    what = f"training step, {name.upper()}, {2 * LABELED[name]} patches"
    mine = Side("Semivox", partial(ours, name))
    return (
        Contest(f"train_{name}_released", what, mine, Side("released code's work, fp32", partial(released, name)),
                same_released, target=7, repeats=3, warmups=3),
        Contest(f"train_{name}_bf16", what, mine, Side("eager bf16, channels last", partial(bf16, name)), same,
                target=1.5, repeats=5, warmups=3, quick=False),
    )


CONTESTS = (*contests_of("caml", same_caml, same_caml), *contests_of("cml", same_cml, same_cml_and_labels))
