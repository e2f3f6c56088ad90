from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from semivox import errors
from semivox.errors import SemivoxError, did_you_mean

EXIT_CODES = {
    "SemivoxError": 1, "UsageError": 2, "InputError": 3, "PartialFailure": 4, "ResourceError": 5, "BusyError": 6,
    "CheckpointError": 7, "DivergedError": 8, "StoppedError": 75,
}


def test_each_kind_of_failure_has_its_exit_code() -> None:
    kinds = {name: value.exit_code for name, value in vars(errors).items()
             if isinstance(value, type) and issubclass(value, SemivoxError)}
    assert kinds == EXIT_CODES


def test_error_is_one_line_of_code_subject_problem_and_fix() -> None:
    error = errors.InputError("D1", Path("imagesTr/a.nii.gz"), "shape (1, 2), expected (3, 4)", "restore the file")
    assert str(error) == (
        "ERROR SVX-D1  imagesTr/a.nii.gz: shape (1, 2), expected (3, 4).  Fix: restore the file.")
    assert (error.code, error.subject, error.problem, error.fix) == (
        "D1", "imagesTr/a.nii.gz", "shape (1, 2), expected (3, 4)", "restore the file")


@pytest.mark.parametrize("name", EXIT_CODES)
def test_error_crosses_to_another_process_unchanged(name: str) -> None:
    error = getattr(errors, name)("T9", "run", "the loss is not finite", "lower the rate")
    copied = pickle.loads(pickle.dumps(error))  # what multiprocessing does with an exception
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.exit_code == error.exit_code


def test_near_match_comes_first_and_all_legal_values_follow() -> None:
    assert did_you_mean("caml", ["camel", "horse"]) == "did you mean 'camel'? Legal values: camel, horse"
    assert did_you_mean("zzz", ["horse", "camel"]) == "legal values: camel, horse"
    assert did_you_mean("b", iter(["a"])) == "legal values: a"
