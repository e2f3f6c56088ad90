"""Number formats: bf16 where the processor computes with it natively, else fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from semivox.errors import ResourceError, UsageError

NATIVE_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
PRECISIONS = ("auto", "fp32", "bf16")


def bf16_is_native(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 in hardware (emulated bf16 is slower than fp32)."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(flag, False) for flag in NATIVE_BF16_FLAGS)
    return False


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """``"auto"`` becomes ``"bf16"`` or ``"fp32"``, whatever the device is made for.

    Raises:
        UsageError: for a name that is not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise UsageError("C2", "precision", f"'{precision}' is unknown", f"legal values: {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "bf16" if bf16_is_native(device) else "fp32"
    return precision


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[object]:
    """Context for the network's forward pass: bf16 autocast on ``device``, or nothing for ``"fp32"``."""
    if resolve_precision(precision, device) == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def resolve_device(device: str) -> torch.device:
    """``"auto"`` takes the first GPU if there is one, else the CPU.

    Raises:
        UsageError: for something that is not a CPU or CUDA device.
        ResourceError: when a GPU is asked for that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, _, index = device.partition(":")
    if name not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise UsageError("C2", "--device", f"'{device}' is unknown", "legal values: auto, cpu, cuda, cuda:N")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and int(index or 0) >= found:
        raise ResourceError("C8", f"--device {device}", f"this GPU is not there ({found} found)", "use --device cpu")
    return torch.device(device)
