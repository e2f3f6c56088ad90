"""Findings: one line each, whatever a file is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from semivox.data.problems import Problem, from_error, raise_on_error, relative
from semivox.errors import InputError

ERROR = Problem("D4", "error", "labelsTr/x.nii.gz", "this mask has no image", "add the image")
WARNING = Problem("D7", "warning", "a", "the same voxels appear 2 times", "keep one")


def test_a_line_has_severity_code_subject_problem_and_fix() -> None:
    assert ERROR.line() == "ERROR SVX-D4  labelsTr/x.nii.gz: this mask has no image.  Fix: add the image."
    assert WARNING.line().startswith("WARNING SVX-D7  a: ")


def test_a_line_equals_that_of_the_exception_with_the_same_content() -> None:
    assert ERROR.line() == str(InputError(*ERROR[:1], *ERROR[2:]))


def test_a_file_name_cannot_break_the_line() -> None:
    line = ERROR._replace(subject="imagesTr/x\ny\x1b]0;.nii").line()
    assert "\n" not in line
    assert "\x1b" not in line


def test_an_error_becomes_a_finding_relative_to_the_root() -> None:
    error = InputError("I1", Path("/data/set/imagesTr/x.nii"), "too short", "copy it again")
    assert from_error(error, Path("/data/set")) == Problem("I1", "error", "imagesTr/x.nii", "too short",
                                                           "copy it again")
    assert from_error(InputError("D5", "case x", "p", "f"), Path("/data")).subject == "case x"


def test_an_error_about_a_relative_root_is_relative_to_it_as_well() -> None:
    assert from_error(InputError("I1", "data/imagesTr/x.nii", "p", "f"), Path("data")).subject == "imagesTr/x.nii"


def test_a_path_outside_the_root_stays_whole() -> None:
    assert relative(Path("/other/x"), Path("/data")) == "/other/x"


def test_warnings_alone_raise_nothing() -> None:
    raise_on_error([WARNING])


def test_the_first_error_is_raised_with_the_number_of_others() -> None:
    with pytest.raises(InputError, match=r"no image \(1 more error: `semivox check` lists all\)") as caught:
        raise_on_error([WARNING, ERROR, ERROR._replace(code="I1")])
    assert caught.value.code == "D4"
    assert caught.value.exit_code == 3


def test_a_single_error_is_raised_as_it_is() -> None:
    with pytest.raises(InputError) as caught:
        raise_on_error([ERROR])
    assert str(caught.value) == ERROR.line()
