"""Splits are pure functions of the store's lists, and their JSON refuses contradictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semivox.data.splits import Split, choose_split, split_from_json, split_to_json
from semivox.data.store import Store, StoredCase, case_to_json
from semivox.errors import InputError, UsageError
from semivox.imaging.geometry import Geometry
from semivox.imaging.plan import ChannelPlan, Plan

GEOMETRY = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
PLAN = Plan(recipe="auto", dimensions=3, channels=(ChannelPlan(name="MR", scheme="none", mean=0.0, std=1.0,
            percentile_00_5=0.0, percentile_99_5=1.0),), class_names=("background", "organ"), spacing_mm=None,
            spacing_known=True, patch_size=(16, 16, 16), labeled_per_batch=2, unlabeled_per_batch=2, network="vnet")


def store(train_order, *, labeled, unlabeled=(), test=()) -> Store:
    cases = [StoredCase(name, "train" if name in labeled else "unlabeled", (8, 8, 8), name in labeled, GEOMETRY)
             for name in sorted({*train_order, *labeled, *unlabeled})]
    cases += [StoredCase(name, "test", (8, 8, 8), True, GEOMETRY) for name in test]
    manifest = {"name": "n", "digest": "d", "train_order": list(train_order), "failed": [], "test_files": {},
                "cases": [case_to_json(case) for case in cases]}
    return Store(Path("store"), manifest, PLAN)


ORDER = ("d", "b", "a", "c", "e")
FIVE = store(ORDER, labeled=ORDER, unlabeled=("u1", "u2"), test=("t1", "t2"))


def test_the_first_of_the_train_list_are_labeled_and_the_rest_is_unlabeled():
    assert choose_split(FIVE, labeled=2, draw=None, validation=0) == Split(
        ("d", "b"), ("a", "c", "e", "u1", "u2"), (), ("t1", "t2"))


def test_validation_cases_come_from_the_end_and_their_images_stay_unlabeled():
    split = choose_split(FIVE, labeled=2, draw=None, validation=2)
    assert split.validation == ("c", "e")
    assert split.labeled == ("d", "b")
    assert split.unlabeled == ("a", "c", "e", "u1", "u2")


def test_no_number_takes_every_label_that_is_not_for_validation():
    assert choose_split(FIVE, labeled=None).labeled == ORDER
    assert choose_split(FIVE, labeled=None, validation=1).labeled == ("d", "b", "a", "c")


def test_cases_of_the_train_list_without_label_are_passed_over():
    partly = store(ORDER, labeled=("b", "c", "e"))
    split = choose_split(partly, labeled=2, validation=1)
    assert (split.labeled, split.validation, split.unlabeled) == (("b", "c"), ("e",), ("d", "a", "e"))


def test_a_draw_is_seeded_and_never_takes_validation_cases():
    names = tuple(f"c{i:02d}" for i in range(30))
    big = store(names, labeled=names)
    draws = {seed: choose_split(big, labeled=5, draw=seed, validation=10) for seed in range(20)}
    assert draws[0] == choose_split(big, labeled=5, draw=0, validation=10)
    assert len({split.labeled for split in draws.values()}) > 10
    for split in draws.values():
        assert len(set(split.labeled)) == 5
        assert not set(split.labeled) & set(names[-10:])
        assert set(split.labeled) | set(split.unlabeled) == set(names)
        assert not set(split.labeled) & set(split.unlabeled)


@pytest.mark.parametrize(("labeled", "validation", "message"), [
    (6, 0, "has 5"), (5, 1, r"has 4 \(1 kept for validation beside them\).*1 to 4"), (0, 0, "0 labeled cases asked"),
    (-1, 0, "-1 labeled"), (1, 5, "at most 4"), (1, -1, "-1 validation")])
def test_impossible_numbers_say_the_maximum(labeled, validation, message):
    with pytest.raises(UsageError, match=message):
        choose_split(FIVE, labeled=labeled, validation=validation)


def test_a_store_without_labels_says_so():
    with pytest.raises(UsageError, match="no training case has a label"):
        choose_split(store((), labeled=(), unlabeled=("u",)), labeled=None)


def test_json_gives_the_split_back():
    split = choose_split(FIVE, labeled=2, validation=1)
    content = json.loads(json.dumps(split_to_json(split)))
    assert content["format"] == 1
    assert split_from_json(content, "run.json") == split
    del content["format"]
    assert split_from_json(content, "run.json") == split


@pytest.mark.parametrize(("change", "message"), [
    ({"labeled": ["a", "t"]}, "both in 'labeled' and in 'test'"), ({"labeled": ["b"]}, "'labeled' and in 'unlabeled'"),
    ({"labeled": ["v"], "unlabeled": ["b"]}, "'labeled' and in 'validation'"),
    ({"unlabeled": ["t"]}, "'unlabeled' and in 'test'"),
    ({"test": ["v"]}, "'test'"), ({"labeled": ["a", "a"]}, "twice"), ({"format": 2}, "format 1"),
    ({"extra": []}, "extra"),
    ({"test": "t"}, "not a list"), ({"test": [1]}, "not a list")])
def test_contradictions_in_json_are_refused(change, message):
    content = {"format": 1, "labeled": ["a"], "unlabeled": ["b", "v"], "validation": ["v"], "test": ["t"]}
    with pytest.raises(InputError, match=f"run.json.*{message}"):
        split_from_json({**content, **change}, "run.json")


@pytest.mark.parametrize("content", [None, [], "a", {}, {"format": 1, "labeled": ["a"]}])
def test_json_that_is_no_split_is_refused(content):
    with pytest.raises(InputError, match=r"run\.json: the split has .* expected the keys"):
        split_from_json(content, "run.json")


def with_lists(full: Store, *, val=(), labeled=()) -> Store:
    manifest = {**full._manifest, "val": list(val), "labeled": {str(len(names)): list(names) for names in labeled}}
    return Store(full.path, manifest, PLAN)


def test_a_labeled_subset_of_the_dataset_is_taken_exactly_as_it_is_listed():
    listed = with_lists(FIVE, labeled=[("e", "a")])
    split = choose_split(listed, labeled=2)
    assert split.labeled == ("e", "a")
    assert split.unlabeled == ("d", "b", "c", "u1", "u2")
    assert choose_split(listed, labeled=3).labeled == ("d", "b", "a")
    drawn = {choose_split(listed, labeled=2, draw=seed).labeled for seed in range(20)}
    assert len(drawn) > 3


def test_validation_from_the_end_of_the_train_list_passes_over_the_labeled_subset():
    listed = with_lists(FIVE, labeled=[("e", "a")])
    split = choose_split(listed, labeled=2, validation=2)
    assert (split.labeled, split.validation) == (("e", "a"), ("b", "c"))
    assert choose_split(listed, labeled=2, validation=3).validation == ("d", "b", "c")
    with pytest.raises(UsageError, match="2 of them are the labeled subset.*at most 3"):
        choose_split(listed, labeled=2, validation=4)


RESERVED = with_lists(store(("d", "b", "a"), labeled=ORDER, unlabeled=("u1",)), val=("e", "c"))


def test_the_validation_list_of_the_dataset_is_used_from_its_beginning():
    split = choose_split(RESERVED, labeled=1, validation=1)
    assert split == Split(("d",), ("b", "a", "c", "e", "u1"), ("e",), ())
    assert choose_split(RESERVED, labeled=3, validation=2).validation == ("e", "c")
    with pytest.raises(UsageError, match="val list has 2.*0 to 2"):
        choose_split(RESERVED, labeled=1, validation=3)


@pytest.mark.parametrize("validation", [0, 1, 2])
def test_cases_of_the_validation_list_are_never_labeled_ones(validation):
    overlapping = with_lists(FIVE, val=("b",))
    for reserved, full in ((RESERVED, RESERVED), (overlapping, overlapping)):
        known = set(reserved.validation_order)
        count = min(validation, len(known))
        splits = [choose_split(full, labeled=None, validation=count),
                  *(choose_split(full, labeled=2, draw=seed, validation=count) for seed in range(10))]
        for split in splits:
            assert not known & set(split.labeled)
            assert known <= set(split.unlabeled)
    with pytest.raises(UsageError, match=r"the data has 3 \(2 kept for validation beside them\)"):
        choose_split(RESERVED, labeled=4, validation=0)


@pytest.mark.parametrize(("lists", "message"), [
    ({"val": ("u1",)}, "val list names cases that have no label .*: u1"),
    ({"labeled": [("d", "gone")]}, r"labeled\[2\] list names .*: gone")])
def test_listed_cases_without_a_label_in_the_store_are_an_error(lists, message):
    with pytest.raises(InputError, match=message):
        choose_split(with_lists(FIVE, **lists), labeled=2, validation=0)
