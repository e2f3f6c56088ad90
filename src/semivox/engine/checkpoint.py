"""Checkpoints without pickle: tensors in safetensors, the rest in JSON, committed by a manifest written last.

One generation is one folder named by its step. It is written beside its final name, fsynced, given a manifest
with the size and digest of every file, renamed, and read back before an older one is deleted. A folder without
a manifest is not a checkpoint; a damaged one is skipped, with a message, for the one before it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from semivox.errors import CheckpointError, SemivoxError
from semivox.fsio import atomic_folder, fsync_folder, read_json, sha256_file, write_json

FORMAT = 1
KEPT = 2


class Snapshot(NamedTuple):
    """Everything that a run needs to go on."""

    tensors: dict[str, dict[str, torch.Tensor]]
    """Group name (``method``, ``optimizer-<turn>``) to named tensors."""
    state: dict[str, Any]
    """JSON: step, position in the metrics log, and so on."""


def save_checkpoint(folder: Path, step: int, snapshot: Snapshot) -> Path:
    """Write generation ``step`` under ``folder``, verify it, then delete all but the last two good ones.

    One that is there and good stays: to replace it would open a moment without it.

    Raises:
        CheckpointError: when what was written does not read back.
    """
    final = folder / f"{step:08d}"
    if final.exists() and not damage(final):
        return final
    with atomic_folder(final) as temporary:
        for group, tensors in snapshot.tensors.items():
            save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
                      temporary / f"{group}.safetensors")
        write_json(temporary / "state.json", snapshot.state)
        files = {file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
                 for file in sorted(temporary.iterdir())}
        write_json(temporary / "MANIFEST.json", {"format": FORMAT, "step": step, "files": files})
    if fault := damage(final):
        raise CheckpointError("K1", final.name, f"the checkpoint just written does not read back: {fault}",
                              "check the disk")
    _remove_all_but_latest(folder, final)
    return final


def _remove_all_but_latest(folder: Path, newest: Path) -> None:
    """Keep the last two undamaged generations; what kills have left behind goes as well."""
    kept = [newest]
    for path in reversed(generations(folder)):
        if len(kept) < KEPT and path.name < newest.name and not damage(path):
            kept.append(path)
    for path in folder.iterdir():
        if path not in kept and path.is_dir() and path.name.startswith((".tmp-", *"0123456789")):
            shutil.rmtree(path)
    fsync_folder(folder)


def generations(folder: Path) -> list[Path]:
    """Complete generations, oldest first."""
    return sorted(path.parent for path in folder.glob("[0-9]*/MANIFEST.json"))


def damage(generation: Path) -> str | None:
    """What is wrong with a generation, or None when every byte is as it was written."""
    try:
        manifest = read_json(generation / "MANIFEST.json")
        if manifest["format"] != FORMAT:
            return f"format {manifest['format']}, this version reads {FORMAT}"
        if manifest["step"] != int(generation.name):
            return f"its manifest is that of step {manifest['step']}"
        for name, expected in manifest["files"].items():
            file = generation / Path(name).name
            if not file.is_file() or file.stat().st_size != expected["bytes"]:
                return f"{name} is missing or has another size"
            if sha256_file(file) != expected["sha256"]:
                return f"{name} has another checksum"
    except (SemivoxError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"unreadable manifest ({type(error).__name__})"
    return None


def load_latest(folder: Path) -> tuple[Snapshot, list[str]]:
    """The newest undamaged generation, and a line for each damaged one that was passed over.

    Raises:
        CheckpointError: when there is none.
    """
    passed_over = []
    for generation in reversed(generations(folder)):
        if fault := damage(generation):
            passed_over.append(f"checkpoint {generation.name} is damaged ({fault}), falling back to the one before")
            continue
        return _read(generation), passed_over
    found = f"{len(passed_over)} damaged" if passed_over else "none"
    raise CheckpointError("K3", folder.parent.name, f"no usable checkpoint ({found} in {folder.name})",
                          "delete this folder and start again with `semivox train`")


def _read(generation: Path) -> Snapshot:
    try:
        tensors = {file.stem: load_file(file) for file in sorted(generation.glob("*.safetensors"))}
    except SafetensorError as error:
        raise CheckpointError("K5", generation.name, f"not a safetensors file: {error}",
                              "delete this generation and resume again") from None
    return Snapshot(tensors, read_json(generation / "state.json"))


def load_into(module: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Load a state dictionary strictly.

    Raises:
        CheckpointError: with the first differences in names or shapes.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    faults += [f"{name} is unknown" for name in tensors.keys() - own.keys()]
    faults += [f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
               for name in own.keys() & tensors.keys() if tensors[name].shape != own[name].shape]
    if faults:
        raise CheckpointError("K7", source, f"weights do not match the configuration: {'; '.join(sorted(faults)[:5])}",
                              "use the configuration that the run was started with")
    module.load_state_dict(tensors)
