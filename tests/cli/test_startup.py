"""What is asked for often answers at once: packages that take long to import are not, before there is work for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "pytorch_lightning", "monai", "scipy", "SimpleITK", "numpy", "nibabel", "h5py", "edt",
         "cc3d", "matplotlib", "jinja2")
SCRIPT = """
import sys
from semivox.cli import run
code = run(sys.argv[1:])
print("LOADED", code, *sorted(name for name in sys.modules if "." not in name))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["methods"], ["--version"], ["train", "--help"],
                                       ["predict", "--help"], ["evaluate", "--help"], ["prepare", "--help"],
                                       ["report", "--help"]],
                         ids=" ".join)
def test_help_and_lists_import_no_heavy_package(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, check=True, capture_output=True,
                          text=True)
    word, code, *loaded = done.stdout.splitlines()[-1].split(" ")
    assert (word, code) == ("LOADED", "0")
    assert "semivox" in loaded
    assert not set(loaded) & set(HEAVY)
