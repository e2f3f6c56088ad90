from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semivox.components.memory import FeatureBank

MIB = 2**20


def numbered(cases: int = 3, classes: int = 2, capacity: int = 8) -> FeatureBank:
    return FeatureBank(cases, classes, capacity, 2)


def write(bank: FeatureBank, case: int, value: float, count: int, *, stored: int = 4) -> None:
    """Write one case, all of whose vectors are (value, k) in class k."""
    classes = bank.counts.shape[0]
    vectors = torch.full((1, classes, stored, 2), value)
    vectors[..., 1] = torch.arange(classes).view(1, -1, 1)
    bank.write(torch.tensor([case]), vectors, torch.full((1, classes), count))


def test_takes_at_most_64_mib_at_16_cases() -> None:
    for classes in (2, 4):
        bank = FeatureBank(16, classes, 32_768 // classes, 64)
        assert bank.vectors.numel() * bank.vectors.element_size() == 64 * MIB


def test_writing_overwrites_the_slots_of_its_cases_and_no_others() -> None:
    bank = numbered()
    write(bank, 0, 1.0, 4)
    write(bank, 2, 2.0, 3)
    before = bank.slots.clone(), bank.counts.clone()
    vectors = torch.arange(12.0).view(1, 2, 3, 2) + 10
    bank.write(torch.tensor([2]), vectors, torch.tensor([[7, 1]]))
    assert torch.equal(bank.slots[:, :2], before[0][:, :2])
    assert torch.equal(bank.counts[:, :2], before[1][:, :2])
    assert torch.equal(bank.slots[:, 2, :3], vectors[0].half())
    assert bank.counts[:, 2].tolist() == [7, 1]


def test_of_a_case_that_occurs_twice_the_last_is_kept() -> None:
    bank = numbered()
    vectors = torch.stack([torch.full((2, 4, 2), value) for value in (1.0, 2.0, 3.0)])
    bank.write(torch.tensor([1, 0, 1]), vectors, torch.tensor([[4, 4], [3, 3], [2, 1]]))
    assert (bank.slots[:, 1, :4] == 3).all()
    assert (bank.slots[:, 0, :4] == 2).all()
    assert bank.counts.tolist() == [[3, 2, 0], [3, 1, 0]]


def test_fill_is_the_share_of_slots_that_hold_anything() -> None:
    bank = numbered()
    assert bank.fill() == 0
    bank.write(torch.tensor([1]), torch.ones(1, 2, 4, 2), torch.tensor([[5, 0]]))
    assert bank.fill().item() == pytest.approx(1 / 6)


def test_draw_gives_held_vectors_of_each_class_each_once() -> None:
    bank = numbered(capacity=8)
    vectors = torch.arange(2 * 2 * 8 * 2).view(2, 2, 8, 2).float()
    bank.write(torch.tensor([0, 2]), vectors, torch.tensor([[8, 2], [5, 6]]))
    torch.manual_seed(0)
    drawn, given = bank.draw(7)
    assert given.all()
    for number in range(2):
        parts = [vectors[case, number, : count[number]].tolist() for case, count in ((0, (8, 2)), (1, (5, 6)))]
        held = {tuple(vector) for part in parts for vector in part}
        rows = [tuple(v) for v in drawn[7 * number : 7 * number + 7].tolist()]
        assert len(set(rows)) == 7
        assert set(rows) <= held


def test_a_class_with_too_few_vectors_gives_none() -> None:
    bank = numbered()
    bank.write(torch.tensor([0]), torch.ones(1, 2, 8, 2), torch.tensor([[8, 3]]))
    vectors, drawn = bank.draw(4)
    assert vectors.shape == (8, 2)
    assert drawn.tolist() == [True] * 4 + [False] * 4
    assert torch.isfinite(vectors).all()
    assert bank.draw(3)[1].all()


def test_draw_is_uniform_as_long_as_no_slot_is_full() -> None:
    torch.manual_seed(0)
    bank = FeatureBank(2, 1, 8, 1)
    bank.write(torch.tensor([0, 1]), torch.arange(16.0).view(2, 1, 8, 1), torch.tensor([[6], [2]]))
    found = torch.cat([bank.draw(2)[0] for _ in range(3000)]).flatten().long()
    share = torch.bincount(found, minlength=16) / 3000
    assert share[[6, 7, 10, 11, 12, 13, 14, 15]].sum() == 0
    assert (share[[0, 1, 2, 3, 4, 5, 8, 9]] - 0.25).abs().max() < 0.04  # 2 of 8, standard deviation 0.008


def test_a_full_slot_counts_with_its_true_number() -> None:
    torch.manual_seed(0)
    bank = FeatureBank(2, 1, 8, 1)
    vectors = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 1)
    bank.write(torch.tensor([0, 1]), vectors, torch.tensor([[8], [24]]))
    found = torch.cat([bank.draw(1)[0] for _ in range(3000)])
    assert found.float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_vectors_beyond_half_precision_stay_finite() -> None:
    bank = numbered()
    write(bank, 0, 1e6, 4)
    vectors, _ = bank.draw(4)
    assert vectors.dtype == torch.float16
    assert torch.isfinite(vectors).all()


def test_has_no_gradient_and_is_all_state() -> None:
    bank = numbered()
    bank.write(torch.tensor([0]), torch.ones(1, 2, 4, 2, requires_grad=True) * 2, torch.tensor([[4, 4]]))
    vectors, _ = bank.draw(2)
    assert not vectors.requires_grad
    restored = numbered()
    restored.load_state_dict(bank.state_dict())
    torch.manual_seed(0)
    first = bank.draw(3)
    torch.manual_seed(0)
    assert torch.equal(first[0], restored.draw(3)[0])
    assert list(bank.parameters()) == []


RANK = """
import sys, torch
from torch import distributed
from semivox.components.memory import FeatureBank
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
bank = FeatureBank(4, 2, 4, 2)
cases = torch.tensor([rank, 3])  # case 3 is in the batches of both ranks
vectors = torch.full((2, 2, 3, 2), 10.0 * (rank + 1)) + torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
bank.write(cases, vectors, torch.full((2, 2), 3 + rank))
torch.save(bank.state_dict(), f"{folder}/rank{rank}.pt")
distributed.destroy_process_group()
"""


def test_two_ranks_write_what_both_have_seen_and_the_later_rank_wins(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), tmp_path], env=environment) for rank in range(2)]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    slots = first["vectors"].unflatten(1, (4, 4))
    assert [slots[0, case, 0, 0].item() for case in range(4)] == [10, 20, 0, 21]
    assert first["counts"][0].tolist() == [3, 4, 0, 4]
