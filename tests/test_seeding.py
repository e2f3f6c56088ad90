from __future__ import annotations

import hashlib
import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from semivox.seeding import fold_in, numpy_generator, seed_torch

NAMES = st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4)


def test_seed_is_the_hash_of_what_it_is_for() -> None:
    digest = hashlib.blake2b(b"7/str:sample/int:3", digest_size=8).digest()
    assert fold_in(7, "sample", 3) == int.from_bytes(digest, "little") >> 1


@given(st.integers(), NAMES)
def test_seeds_are_stable_and_in_range(seed: int, names: list[int | str]) -> None:
    value = fold_in(seed, *names)
    assert 0 <= value < 2**63
    assert value == fold_in(seed, *names)


def test_different_purposes_have_different_seeds() -> None:
    purposes = [(), ("a",), ("b",), ("a", "b"), ("a", 1), ("a", "1"), (1,), ("1",), (1, 1), (11,)]
    purposes += [("step", step, rank) for step, rank in itertools.product(range(50), range(4))]
    seeds = {fold_in(seed, *names) for seed in (0, 1) for names in purposes}
    assert len(seeds) == 2 * len(purposes)


def test_numpy_integers_are_integers() -> None:
    assert fold_in(np.int64(3)) == fold_in(3)


def test_generators_of_one_purpose_agree_and_others_do_not() -> None:
    first, again, other = (numpy_generator(0, *names).normal(size=100) for names in (["a"], ["a"], ["b"]))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.4
    state = np.random.get_state()[1].copy()
    numpy_generator(0, "a").random(10)
    assert np.array_equal(np.random.get_state()[1], state)


def test_default_generator_of_torch_is_seeded_for_a_purpose() -> None:
    seed_torch(3, "forward", 5)
    first = torch.rand(4)
    torch.rand(9)
    seed_torch(3, "forward", 5)
    assert torch.equal(torch.rand(4), first)
    seed_torch(3, "forward", 6)
    assert not torch.equal(torch.rand(4), first)
    assert torch.initial_seed() == fold_in(3, "forward", 6)
