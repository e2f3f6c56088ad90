"""``semivox doctor``: is this machine ready, and what is missing for what."""

from __future__ import annotations

from pathlib import Path

import typer

EXAMPLE = """
Show versions, devices, threads, bf16 support, disk and memory, and what is missing for what.

Example: `semivox doctor`
"""

NEEDED_FOR = {"monai": "networks named monai:..."}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=EXAMPLE)(doctor)


def doctor() -> None:
    """Print one line for each thing that matters."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "found", box=None, header_style="bold")
    for what, found in findings():
        table.add_row(what, found)
    Console().print(table)


def findings() -> list[tuple[str, str]]:
    """What was looked at, and what was found."""
    import os
    import shutil
    import sys

    import torch

    import semivox
    from semivox.engine.environment import installed_versions, processor_name
    from semivox.inference.precision import bf16_is_native

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    disk = shutil.disk_usage(Path.cwd())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = "cuda" if gpus else "cpu"
    rows = [
        ("semivox", semivox.__version__),
        ("python", sys.version.split()[0]),
        ("processor", f"{processor_name()}, {os.cpu_count()} cores"),
        ("threads", str(torch.get_num_threads())),
        ("GPU", ", ".join(gpus) or "none: training runs on the processor"),
        ("bf16", f"native on {device}" if bf16_is_native(device) else f"not native on {device}: fp32 is used"),
        ("memory", f"{memory_gb:.1f} GB"),
        ("disk here", f"{disk.free / 2**30:.0f} GB free of {disk.total / 2**30:.0f} GB"),
    ]
    versions = installed_versions()
    rows += [(name, version) for name, version in versions.items() if version]
    rows += [(name, f"missing, needed for {NEEDED_FOR.get(name, 'running at all')}: pip install {name}")
             for name, version in versions.items() if not version]
    return rows
