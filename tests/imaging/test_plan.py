from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from semivox.errors import InputError, UsageError
from semivox.imaging.plan import ChannelPlan, Plan, load_plan, plan_from_json, plan_to_json


def make_plan(**changes) -> Plan:
    channel = ChannelPlan(name="CT", scheme="ct", mean=50.0, std=20.0, percentile_00_5=-100.0, percentile_99_5=300.0)
    values = {"recipe": "auto", "dimensions": 3, "channels": (channel,), "class_names": ("background", "liver"),
              "spacing_mm": (1.0, 1.0, 2.5), "spacing_known": True, "patch_size": (64, 64, 32),
              "labeled_per_batch": 2, "unlabeled_per_batch": 2, "network": "vnet"}
    return Plan(**{**values, **changes})


def test_a_plan_survives_the_way_through_a_file(tmp_path):
    plan = make_plan(strides=(16, 16, 8), window="uniform")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_to_json(plan)))
    assert load_plan(path) == plan
    assert plan.classes == 2


def test_whole_numbers_are_accepted_where_floats_are_wanted():
    content = {**plan_to_json(make_plan()), "spacing_mm": [1, 1, 2]}
    assert plan_from_json(content).spacing_mm == (1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"patch_sise": [1, 1, 1]}, "C1", ("patch_sise", "patch_size")),
        ({"overlap": 1.0}, "C2", ("overlap: found 1.0", "a number of at least 0 and below 1 is needed")),
        ({"foreground_fraction": 1.5}, "C2", ("foreground_fraction: found 1.5", "of at least 0 and of at most 1")),
        ({"overlap": "half"}, "C2", ("overlap: found 'half'", "below 1 is needed")),
        ({"dimensions": 4}, "C2", ("dimensions: unknown value 4", "legal values: 2, 3")),
        ({"window": "triangle"}, "C2", ("window: unknown value 'triangle'", "legal values: gaussian, uniform")),
        ({"channels": []}, "C2", ("channels: found []", "1 or more entries")),
        ({"class_names": ["background"]}, "C2", ("class_names: found", "2 or more entries")),
        ({"class_names": ["a", "a"]}, "C2", ("class_names", "differ")),
        ({"patch_size": [64, 64]}, "C2", ("patch_size[2]: this key is missing",)),
        ({"patch_size": [64, 0, 64]}, "C2", ("patch_size[1]: found 0", "a whole number greater than 0 is needed")),
        ({"patch_size": [64.5, 64, 64]}, "C2", ("patch_size[0]: found 64.5", "a whole number greater than 0")),
        ({"dimensions": 2}, "C2", ("patch_size", "must end with 1")),
        ({"strides": [65, 1, 1]}, "C2", ("strides", "gaps")),
        ({"spacing_mm": [1.0, -1.0, 1.0]}, "C2", ("spacing_mm[1]: found -1.0", "a number greater than 0")),
        ({"labeled_per_batch": 0}, "C2", ("labeled_per_batch: found 0", "greater than 0")),
        ({"format": 2}, "C2", ("format = 2",)),
        ({"spacing_known": "yes"}, "C2", ("spacing_known: found 'yes'", "true or false")),
    ],
)
def test_a_bad_value_names_file_key_value_and_what_is_legal(change, code, words):
    with pytest.raises(UsageError) as caught:
        plan_from_json({**plan_to_json(make_plan()), **change}, source="some/plan.json")
    assert caught.value.code == code
    assert caught.value.subject.startswith("some/plan.json")
    for word in words:
        assert word in str(caught.value)


def test_a_bad_value_inside_a_channel_names_the_full_path():
    content = json.loads(json.dumps(plan_to_json(make_plan())))
    content["channels"][0]["schema"] = "ct"
    with pytest.raises(UsageError, match=r"channels\[0\]\.schema.*did you mean 'scheme'"):
        plan_from_json(content)
    del content["channels"][0]["schema"]
    content["channels"][0]["scheme"] = "CT"
    with pytest.raises(UsageError, match=r"channels\[0\]\.scheme: unknown value 'CT'.*: ct, minmax, none, zscore"):
        plan_from_json(content)
    content["channels"][0]["scheme"] = "ct"
    content["channels"][0]["percentile_00_5"] = 400.0
    with pytest.raises(UsageError, match=r"channels\[0\]: percentile_00_5 = 400 lies above"):
        plan_from_json(content)


def test_a_missing_key_is_named():
    content = plan_to_json(make_plan())
    del content["network"]
    with pytest.raises(UsageError, match="network: this key is missing, a text of 1 or more characters is needed"):
        plan_from_json(content)


def test_a_plan_that_is_no_object_is_refused():
    with pytest.raises(UsageError, match="expected an object"):
        plan_from_json([1, 2])


@pytest.mark.parametrize("text", ["", "{", '{"format": 1, "format": 1}', '{"overlap": NaN}'])
def test_a_file_that_is_not_strict_json_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"plan\.json"):
        load_plan(path)


def test_the_plan_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_plan().overlap = 0.1


def test_importing_the_plan_loads_nothing_heavy():
    code = ("import sys, semivox.imaging.plan;"
            "heavy = {'torch', 'numpy', 'scipy', 'SimpleITK', 'nibabel', 'pydantic'} & set(sys.modules);"
            "sys.exit(str(heavy) if heavy else 0)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_plan_written_before_there_were_intensities_loads_and_leaves_them_as_stored():
    content = plan_to_json(make_plan())
    del content["intensity"]
    assert plan_from_json(content).intensity == "stored"
    assert plan_from_json({**content, "intensity": "minmax"}).intensity == "minmax"
