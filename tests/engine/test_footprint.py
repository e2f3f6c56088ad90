"""The memory of a run: estimated close to what it takes, refused with a way out when it is not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from run_material import tiny_config

from semivox.engine import footprint as module
from semivox.engine.build import build_method
from semivox.engine.footprint import footprint, reserve_memory
from semivox.engine.train import start_run
from semivox.errors import ResourceError

MEASURE = """
import json, sys
from pathlib import Path
import torch
from semivox.data.store import Store
from semivox.engine.build import build_method, memory_format, to_memory_format
from semivox.engine.footprint import noise_batch, footprint
from semivox.inference.precision import autocast
from semivox.memory import keep_freed_memory, peak_memory_mb
from semivox.recipes import resolve
from semivox.types import Progress

torch.set_num_threads(1)
kept = sys.argv[3] == "kept"
if kept:
    keep_freed_memory()
wishes = {"method": {"name": sys.argv[2]}, "engine": {"steps": 10},
          "data": {"labeled": 2, "labeled_per_batch": 2, "patch_size": [64, 64, 64], "workers": 0}}
config = resolve(Store.open(Path(sys.argv[1])).plan, wishes)
new_method = lambda: build_method(config, Store.open(Path(sys.argv[1])).plan, 2)
estimate = footprint(new_method(), config, "fp32")
method = new_method()
to_memory_format(method, memory_format(config.engine, 3), 3)
optimizer = torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9)
before = peak_memory_mb()
for step in range(2):
    batch = noise_batch(method, config, [64, 64, 64])
    optimizer.zero_grad()
    method(batch, Progress("main", step, 10, step, 10)).loss.backward()
    optimizer.step()
print(json.dumps([estimate.kept if kept else estimate.total, (peak_memory_mb() - before) * 2**20]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures the resident set of glibc's allocation")
@pytest.mark.parametrize(("method", "way"), [("supervised", "kept"), ("supervised", "returned"), ("dualnet", "kept")])
def test_the_estimate_is_close_to_what_a_step_takes(toy_store, method, way):
    command = [sys.executable, "-c", MEASURE, str(toy_store.path), method, way]
    estimated, taken = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.75 < estimated / taken < 1.5


def config_of(store, changes=None):
    return tiny_config(store, "supervised", {"network.width": 16, "data.patch_size": [64, 64, 64], **(changes or {})})


def method_of(store, config):
    return build_method(config, store.plan, 2)


def test_the_estimate_grows_with_the_patch_and_with_the_samples(toy_store):
    sizes = [footprint(method_of(toy_store, config), config, "fp32").step
             for config in (config_of(toy_store), config_of(toy_store, {"data.patch_size": [64, 64, 128]}),
                            config_of(toy_store, {"data.labeled_per_batch": 4}))]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.1)
    assert sizes[2] == pytest.approx(2 * sizes[0], rel=0.1)


def test_half_precision_needs_less(toy_store):
    config = config_of(toy_store)
    full, half = (footprint(method_of(toy_store, config), config, precision).step for precision in ("fp32", "bf16"))
    assert half < 0.8 * full


def test_looking_does_not_touch_the_global_generator_or_the_gradients(toy_store):
    config = config_of(toy_store)
    method = method_of(toy_store, config)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    footprint(method, config, "fp32")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(weight.grad is None for weight in method.parameters())


# --- against what is free ----------------------------------------------------------------------------------------


def fabric():
    return SimpleNamespace(device=torch.device("cpu"), broadcast=lambda value: value)


@pytest.fixture
def free(monkeypatch):
    """``free(bytes)`` sets what the machine has left; ``free.kept`` counts the switches to the faster allocation."""
    def setter(size):
        monkeypatch.setattr(module, "available_memory_bytes", lambda: size)

    setter.kept = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: setter.kept.append(1))
    return setter


def test_with_room_freed_memory_is_kept(toy_store, free):
    config = config_of(toy_store)
    free(10**12)
    said = reserve_memory(fabric(), method_of(toy_store, config), config, "fp32")
    words = re.fullmatch(r"about ([\d.]+) GB in all, ([\d.]+) GB of it taken, 1000.0 GB free", said)
    assert words
    needed = footprint(method_of(toy_store, config), config, "fp32").kept
    assert float(words[1]) - float(words[2]) == pytest.approx(needed / 1e9, abs=0.11)
    assert free.kept


@pytest.mark.parametrize(("method", "batch"), [("supervised", (24, 0)), ("mean_teacher", (10, 14)), ("cml", (12, 12))])
def test_a_large_batch_is_estimated_from_few_samples(toy_store, monkeypatch, method, batch):
    sizes, original = [], module.noise_batch

    def watched(*given):
        made = original(*given)
        sizes.append(len(made.image))
        return made

    monkeypatch.setattr(module, "noise_batch", watched)
    config = tiny_config(toy_store, method, dict(zip(("data.labeled_per_batch", "data.unlabeled_per_batch"), batch,
                                                     strict=True)))
    estimated = footprint(method_of(toy_store, config), config, "fp32")
    assert max(sizes) <= 2 * module.FEW_SAMPLES
    monkeypatch.setattr(module, "FEW_SAMPLES", 10**6)
    measured = footprint(method_of(toy_store, config), config, "fp32")
    assert max(sizes) == sum(batch)
    assert estimated.step == pytest.approx(measured.step, rel=0.15)


def test_the_way_out_fits(toy_store, free):
    config = config_of(toy_store, {"data.labeled_per_batch": 12})
    needed = footprint(method_of(toy_store, config), config, "fp32")
    left = needed.state + needed.loading + needed.step // 4
    free(left)
    with pytest.raises(ResourceError, match="--set data.labeled_per_batch=3 --set engine.accumulate=4") as caught:
        reserve_memory(fabric(), method_of(toy_store, config), config, "fp32")
    assert "12 patches of 64x64x64" in str(caught.value)
    advised = config_of(toy_store, {"data.labeled_per_batch": 3, "engine.accumulate": 4})
    assert footprint(method_of(toy_store, advised), advised, "fp32").total <= 1.02 * left


def test_with_little_room_it_is_given_back(toy_store, free):
    config = config_of(toy_store)
    needed = footprint(method_of(toy_store, config), config, "fp32")
    free((needed.total + needed.kept) // 2)
    assert "too little for the faster allocation" in reserve_memory(fabric(), method_of(toy_store, config), config,
                                                                    "fp32")
    assert not free.kept


def test_an_estimate_that_may_be_wrong_is_only_warned_of(toy_store, free):
    config = config_of(toy_store)
    free(int(footprint(method_of(toy_store, config), config, "fp32").total / 1.2))
    said = reserve_memory(fabric(), method_of(toy_store, config), config, "fp32")
    assert "it may not do. --set data.labeled_per_batch=1" in said
    assert not free.kept


def test_processes_share_what_is_free(toy_store, free):
    config = config_of(toy_store, {"engine.devices": 2})
    needed = footprint(method_of(toy_store, config), config, "fp32")
    free(int(2 * needed.total / 1.3) - 2)
    with pytest.raises(ResourceError, match="SVX-C9"):
        reserve_memory(fabric(), method_of(toy_store, config), config, "fp32")


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(toy_store, tmp_path, free):
    free(10**6)
    with pytest.raises(ResourceError, match="needs about .* GB, 0.0 GB are free") as caught:
        start_run(toy_store, tmp_path / "run", config_of(toy_store))
    assert "Fix: take a smaller data.patch_size or network.width" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_where_the_system_does_not_say_the_run_starts(toy_store, free):
    config = config_of(toy_store)
    free(None)
    assert "not estimated" in reserve_memory(fabric(), method_of(toy_store, config), config, "fp32")


class OneSize(torch.nn.Module):
    def forward(self, image):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_network_of_one_image_size_is_not_estimated(toy_store, free):
    config = config_of(toy_store)
    method = method_of(toy_store, config)
    method.network = OneSize()
    free(10**12)
    assert "not estimated (RuntimeError: mat1 and mat2" in reserve_memory(fabric(), method, config, "fp32")
