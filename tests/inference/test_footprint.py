"""The estimate is near what is measured, and what will not fit is refused with a way out."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from semivox.errors import ResourceError
from semivox.inference import footprint as module
from semivox.inference.footprint import Footprint, footprint, require_memory
from semivox.inference.sliding import Execution
from semivox.inference.windows import Window

MEASURE = """
import sys
import numpy as np, torch
from semivox.components.probabilities import Probabilities
from semivox.inference.footprint import footprint
from semivox.inference.sliding import Execution, predict_labels
from semivox.inference.windows import Window
from semivox.memory import keep_freed_memory, peak_memory_mb
from semivox.networks.vnet import VNet
keep_freed_memory()
precision, batch, members, classes, shape, patch = eval(sys.argv[1])
network = Probabilities(*(VNet(1, classes) for _ in range(members))).to(memory_format=torch.channels_last_3d).eval()
image = np.ones((1, *shape), np.float32)
tiny = Window((16, 16, 16), (16, 16, 16))
predict_labels(network, image[:, :16, :16, :16], tiny, execution=Execution(1, precision))  # what PyTorch loads
window, execution = Window(patch, tuple(side // 2 for side in patch), "gaussian"), Execution(batch, precision)
needed = footprint(network, image.shape, window, execution=execution, classes=classes)
with open("/proc/self/status") as status:
    before = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))
predict_labels(network, image, window, execution=execution)
print(needed.total(batch) / 2**20, peak_memory_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", [
    pytest.param(("fp32", 1, 1, 2, (96, 96, 80), (80, 80, 64)), id="fp32"),
    pytest.param(("bf16", 4, 2, 2, (96, 96, 80), (80, 80, 64)), id="bf16, two networks, four windows"),
    pytest.param(("bf16", 1, 1, 24, (160, 160, 96), (64, 64, 48)), id="many classes"),
])
def test_the_estimate_is_near_the_measured_growth(case):
    said = subprocess.run([sys.executable, "-c", MEASURE, repr(case)], capture_output=True, text=True, check=True)
    estimated, measured = map(float, said.stdout.split())
    assert 0.7 < estimated / measured < 1.5, (estimated, measured)


def test_the_parts_of_a_scan_are_counted():
    network = nn.Conv3d(1, 3, 1)
    window, execution = Window((8, 8, 8), (4, 4, 4)), Execution()
    found = footprint(network, (1, 32, 16, 16), window, execution=execution, classes=3)
    assert found.scan == 32 * 256 + 4 * 3 * 8 * 256 + 8 * 8 * 256  # labels, sums, classes of finished planes
    assert found.window == 4 * 512 * (1 + 3) + 4 * 512 * (2 + 2 * 3)  # layer's input and output; probabilities
    padded = footprint(network, (1, 32, 16, 4), window, execution=execution, classes=3)
    assert padded.scan == 32 * 128 + 4 * 32 * 128 + (4 * 3 + 8) * 8 * 128
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())


def test_maps_that_are_gone_do_not_count():
    convolution = nn.Conv3d(1, 1, 3, padding=1)
    one, ten = (footprint(nn.Sequential(*[convolution] * count), (1, 8, 8, 8), Window((8, 8, 8), (8, 8, 8)),
                          execution=Execution(), classes=1).window for count in (2, 10))
    assert one == ten


def test_a_network_that_looks_at_values_or_has_no_weights_is_not_estimated():
    class Looking(nn.Conv3d):
        def forward(self, image: Tensor) -> Tensor:
            return image if image.sum().item() > 0 else -image

    for network in (Looking(1, 1, 1), nn.Identity()):
        window = Window((8, 8, 8), (8, 8, 8))
        assert footprint(network, (1, 8, 8, 8), window, execution=Execution(), classes=1) is None


@pytest.mark.parametrize(("free", "code", "fix"), [(2600, "C9", "use --batch 2"), (1900, "C9", "use --batch 1"),
                                                   (800, "P5", "free memory")])
def test_what_will_not_fit_is_refused_with_a_way_out(free, code, fix, monkeypatch):
    monkeypatch.setattr(module, "available_memory_bytes", lambda: free * 1_000_000)
    monkeypatch.setattr(module, "kept_memory_bytes", lambda: 0)
    needed = Footprint(scan=500_000_000, weights=0, window=800_000_000)
    with pytest.raises(ResourceError, match=rf"case: predicting it needs about 4.5 GB, {free / 1000:.1f} GB") as caught:
        require_memory(needed, Execution(batch_size=4), "case")
    assert caught.value.code == code
    assert fix in str(caught.value)


@pytest.mark.parametrize("free", [None, 4_500_000_000])
def test_what_fits_or_is_unknown_starts(free, monkeypatch):
    monkeypatch.setattr(module, "available_memory_bytes", lambda: free)
    require_memory(Footprint(500_000_000, 0, 800_000_000), Execution(batch_size=4), "case")


def test_freed_memory_that_is_kept_counts_as_free(monkeypatch):
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 1_000_000_000)
    monkeypatch.setattr(module, "kept_memory_bytes", lambda: 4_000_000_000)
    require_memory(Footprint(500_000_000, 0, 800_000_000), Execution(batch_size=4), "case")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_memory_counts_on_a_gpu():
    needed = Footprint(10**15, 0, torch.cuda.mem_get_info()[0] // 2)
    require_memory(needed, Execution(1, device="cuda"), "case")
    with pytest.raises(ResourceError, match="use --batch 1"):
        require_memory(needed, Execution(2, device="cuda"), "case")
