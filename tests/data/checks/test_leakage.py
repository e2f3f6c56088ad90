"""Equal scans in training and test."""

from __future__ import annotations

from semivox.data.checks.leakage import duplicate_problems


def test_a_group_of_equal_scans_is_one_finding() -> None:
    images = [("train", "a", "1"), ("train", "b", "1"), ("unlabeled", "c", "1"), ("test", "t", "2")]
    found = duplicate_problems(images)  # type: ignore[arg-type]
    assert [(problem.code, problem.problem) for problem in found] == [
        ("D7", "the same voxels appear 3 times: a, b, c")]


def test_one_leaked_scan_of_a_group_is_an_error_that_names_all() -> None:
    images = [("unlabeled", "u", "1"), ("train", "a", "1"), ("test", "t", "1")]
    found = duplicate_problems(images)  # type: ignore[arg-type]
    assert [(problem.code, problem.severity) for problem in found] == [("D8", "error")]
    assert "a, u = t" in found[0].problem
