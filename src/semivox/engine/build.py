"""From a configuration to the things that train: launcher, method, optimizers."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from datetime import timedelta

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from semivox.config import EngineConfig, RunConfig
from semivox.errors import ResourceError, UsageError
from semivox.imaging.plan import Plan
from semivox.inference.precision import resolve_device, resolve_precision
from semivox.methods import get_method
from semivox.methods.base import Method
from semivox.networks import check_patch_size, network_factory
from semivox.types import Task

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other, for example while the first one validates."""


def as_started(config: EngineConfig) -> EngineConfig:
    """The configuration with the numbers of devices and nodes that torchrun has started, if it has.

    Raises:
        UsageError: when other numbers are configured.
    """
    if not torch.distributed.is_torchelastic_launched():
        return config
    devices, processes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    started = replace(config, devices=devices, nodes=processes // devices)
    if config not in (started, replace(config, devices=1, nodes=1)):
        raise UsageError("C3", "engine.devices", f"{config.devices} on each of {config.nodes} nodes, torchrun started "
                         f"{started.devices} on each of {started.nodes}", "leave out --devices and --nodes")
    return started


def build_fabric(config: EngineConfig, *, turns: int) -> Fabric:
    """The launcher: one process, several on this machine, or those that torchrun or SLURM started.

    Args:
        config: accelerator, devices, nodes and precision.
        turns: number of turns of the method; with several, some parameters have no gradient in each of them.

    Raises:
        ResourceError: when the accelerator or the number of devices is not there.
    """
    device = resolve_device(config.accelerator)
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ResourceError("C8", "engine.devices", f"{config.devices} GPUs asked for, {found} found",
                            "lower --devices")
    precision = resolve_precision(config.precision, device)
    # it announces what the run records anyway
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    parallel = config.devices * config.nodes > 1
    strategy = DDPStrategy(find_unused_parameters=turns > 1, timeout=PATIENCE) if parallel else "auto"
    return Fabric(accelerator=device.type, devices=config.devices, num_nodes=config.nodes, strategy=strategy,
                  precision="bf16-mixed" if precision == "bf16" else "32-true")


def build_method(config: RunConfig, plan: Plan, labeled_cases: int) -> Method:
    """A method with freshly initialized networks, drawn from torch's default generator.

    Raises:
        UsageError: when the network cannot take the patch or does not fit the plan's dimensions.
    """
    task = Task(plan.dimensions, len(plan.channels), plan.classes, labeled_cases)
    network = config.network
    patch_size = config.data.patch_size[: plan.dimensions]
    if any(side != 1 for side in config.data.patch_size[plan.dimensions :]):
        raise UsageError("C2", "data.patch_size", f"found {list(config.data.patch_size)}, the last is 1 for a 2D plan",
                         f"set data.patch_size={patch_size[0]},{patch_size[1]},1")
    check_patch_size(network.name, patch_size, network.options)
    make_network = network_factory(network.name, task=task, width=network.width, decoder=network.decoder,
                                   dropout=network.dropout, init=network.init, options=network.options,
                                   patch_size=patch_size)
    return get_method(config.method.name)(config.method, make_network, task)


def plan_of_run(plan: Plan, config: RunConfig) -> Plan:
    """The store's plan with the intensities and the patch that the run trains on, for prediction to use the same.

    The component filter is on if the plan or the method asks for it.
    """
    largest_component = plan.largest_component or config.method.largest_component
    plan = replace(plan, intensity=config.data.intensity, largest_component=largest_component)
    if config.data.patch_size == plan.patch_size:
        return plan
    return replace(plan, patch_size=config.data.patch_size, strides=None)


def memory_format(config: EngineConfig, dimensions: int) -> torch.memory_format:
    """The layout of networks and images."""
    if not config.channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if dimensions == 3 else torch.channels_last


def to_memory_format(module: torch.nn.Module, layout: torch.memory_format, dimensions: int) -> None:
    """Lay out the convolution weights of a module; everything of another rank stays as it is."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dim() == dimensions + 2:
            tensor.data = tensor.data.to(memory_format=layout)


def compile_networks(method: Method) -> None:
    """Compile each network of a method in place; names of weights stay.

    The step around them is not compiled: it depends on the number of the step, and would be compiled anew for each.
    """
    for part in method.children():
        networks = part.children() if isinstance(part, torch.nn.ModuleList | torch.nn.ModuleDict) else [part]
        for network in networks:
            network.compile()
