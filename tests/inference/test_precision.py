from __future__ import annotations

import pytest
import torch

from semivox.errors import ResourceError, UsageError
from semivox.inference import precision
from semivox.inference.precision import autocast, bf16_is_native, resolve_device, resolve_precision


@pytest.mark.parametrize(("capabilities", "expected"), [
    ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True, "amx_bf16": False}, "fp32"),
    ({}, "fp32"),
])
def test_auto_asks_the_processor(capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", "cpu") == expected


def test_other_devices_do_not_claim_bf16() -> None:
    assert not bf16_is_native("meta")


def test_explicit_precision_is_taken_as_it_is() -> None:
    assert resolve_precision("fp32", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"


def test_unknown_precision_names_the_legal_values() -> None:
    with pytest.raises(UsageError, match="'fp16' is unknown.*auto, fp32, bf16"):
        resolve_precision("fp16", "cpu")


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_sets_the_type_of_products(name: str, dtype: torch.dtype) -> None:
    with autocast(name, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_devices_are_checked_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ResourceError, match="0 found"):
        resolve_device("cuda")
    for name in ("gpu", "cuda:x", "cuda:-1"):
        with pytest.raises(UsageError, match="legal values"):
            resolve_device(name)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(precision.torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ResourceError, match="2 found"):
        resolve_device("cuda:2")
