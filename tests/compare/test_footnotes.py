from __future__ import annotations

from semivox.compare.footnotes import footnotes_of


def test_setting_of_a_few_is_the_exception() -> None:
    grounds = {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 1}, "c": {"x": 2, "y": 3}, "d": {"x": 2, "y": 1}}
    assert footnotes_of(grounds, "a") == [
        {"methods": ["c", "d"], "text": "x is 2 (1 elsewhere)"}, {"methods": ["c"], "text": "y is 3 (1 elsewhere)"}]
    assert footnotes_of(grounds, "d")[0] == {"methods": ["a", "b"], "text": "x is 1 (2 elsewhere)"}


def test_majority_is_the_rule_even_against_the_reference() -> None:
    grounds = {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2}}
    assert footnotes_of(grounds, "a") == [{"methods": ["a"], "text": "x is 1 (2 elsewhere)"}]


def test_settings_in_which_the_same_methods_differ_share_a_footnote() -> None:
    grounds = {"a": {"x": 1, "y": True}, "b": {"x": 1, "y": True}, "c": {"x": None, "z": "new"}}
    assert footnotes_of(grounds, "a") == [
        {"methods": ["c"], "text": "x is null (1 elsewhere); z is new (not used elsewhere)"}]


def test_no_difference_is_no_footnote() -> None:
    assert footnotes_of({"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}, "a") == []
