"""What the run ran on: versions, processor, threads, precision."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import semivox
from semivox import memory

PACKAGES = ("torch", "lightning", "numpy", "scipy", "nibabel", "SimpleITK", "isal", "safetensors", "pydantic", "edt",
            "connected-components-3d", "monai", "tensorboard", "matplotlib")


def installed_versions() -> dict[str, str | None]:
    """Versions of the packages that matter; None where one is missing."""
    return {name: _version(name) for name in PACKAGES}


def processor_name() -> str:
    """The processor's model, as the system calls it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next(line.split(":", 1)[1].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe_environment(*, precision: str, world_size: int) -> dict[str, Any]:
    """The content of ``environment.json``: no user names, host names or paths."""
    return {
        "semivox": semivox.__version__,
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "world_size": world_size,
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": installed_versions(),
    }


def peak_memory_mb() -> float:
    """Peak memory of this process so far, in MB: the allocator's if it uses a GPU, else the resident set's."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return on_gpu / 2**20 if on_gpu else memory.peak_memory_mb()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
