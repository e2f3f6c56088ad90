from __future__ import annotations

from pathlib import Path

import pytest

from semivox.errors import InputError, UsageError
from semivox.inference.cases import find_inputs, plan_outputs, refuse_existing


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def found(source: Path, channels: int) -> dict[str, list[str]]:
    return {case.output_name: [path.name for path in case.paths] for case in find_inputs(source, channels)}


def test_channel_number_is_dropped_and_formats_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "b_0000.nii.gz", "a.nrrd", "c_0000.mha", "d.nii")
    assert found(tmp_path, 1) == {"a.nrrd": ["a.nrrd"], "b.nii.gz": ["b_0000.nii.gz"], "c.mha": ["c_0000.mha"],
                                  "d.nii": ["d.nii"]}


def test_hidden_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "._a_0000.nii.gz", ".DS_Store", "notes.txt")
    (tmp_path / "folder.nii.gz").mkdir()
    assert found(tmp_path, 1) == {"a.nii.gz": ["a_0000.nii.gz"]}


def test_a_year_at_the_end_of_a_name_is_no_channel(tmp_path: Path) -> None:
    touch(tmp_path, "scan_2021.nii.gz")
    assert found(tmp_path, 1) == {"scan_2021.nii.gz": ["scan_2021.nii.gz"]}


def test_channels_of_a_case_are_grouped_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b_0001.nii.gz", "a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path, 2) == {"a.nii.gz": ["a_0000.nii.gz", "a_0001.nii.gz"],
                                  "b.nii.gz": ["b_0000.nii.gz", "b_0001.nii.gz"]}


@pytest.mark.parametrize("name", ["a_0000.nii.gz", "a_0001.nii.gz"])
def test_one_file_finds_the_other_channels_of_its_case(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "ab_0000.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path / name, 2) == {"a.nii.gz": ["a_0000.nii.gz", "a_0001.nii.gz"]}


def test_one_file_of_one_channel_is_taken_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path / "a_0000.nii.gz", 1) == {"a.nii.gz": ["a_0000.nii.gz"]}


@pytest.mark.parametrize(("names", "channels", "message"), [
    (["a_0000.nii.gz", "a_0001.nii.gz"], 1, r"found channels _0000, _0001, .* with _0000 \(T1\)"),
    (["a_0000.nii.gz"], 2, r"found channels _0000, .* with _0000, _0001"),
    (["a_0001.nii.gz"], 2, r"found channels _0001, "),
    (["a_0000.nii.gz", "a_0002.nii.gz"], 2, r"found channels _0000, _0002"),
])
def test_other_channels_than_trained_are_refused(names: list[str], channels: int, message: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    (case,) = find_inputs(tmp_path, channels)
    with pytest.raises(InputError, match=message) as caught:
        case.require_channels(("T1", "T2")[:channels])
    assert caught.value.code == "P2"


def test_complete_channels_are_accepted(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
    find_inputs(tmp_path, 2)[0].require_channels(("T1", "T2"))


def test_two_files_for_one_case_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_0000.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii\.gz and a_0000\.nii\.gz are the same channel"):
        find_inputs(tmp_path, 1)


def test_missing_or_empty_sources_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find_inputs(tmp_path / "nothing", 1)
    with pytest.raises(InputError, match="it is empty"):
        find_inputs(tmp_path, 1)
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match=r"found notes\.txt.*\.nii\.gz"):
        find_inputs(tmp_path, 1)
    with pytest.raises(InputError, match="not a scan by its name"):
        find_inputs(tmp_path / "notes.txt", 1)


def test_label_maps_go_into_the_folder_or_to_the_named_file(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a_0000.nii.gz")
    source = tmp_path / "in" / "a_0000.nii.gz"
    cases = find_inputs(source, 1)
    assert [job.out_path for job in plan_outputs(cases, source, tmp_path / "out")] == [tmp_path / "out" / "a.nii.gz"]
    named = tmp_path / "mask.nrrd"
    assert [job.out_path for job in plan_outputs(cases, source, named)] == [named]


def test_label_maps_never_fall_among_the_scans(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz")
    cases = find_inputs(tmp_path, 1)
    with pytest.raises(UsageError, match="folder of the scans"):
        plan_outputs(cases, tmp_path, tmp_path / "." / "")
    with pytest.raises(UsageError, match="would replace its scan"):
        plan_outputs(cases, tmp_path / "a.nii.gz", tmp_path)
    with pytest.raises(UsageError, match="would replace its scan"):
        plan_outputs(cases, tmp_path / "a.nii.gz", tmp_path / "a.nii.gz")


def test_a_file_as_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.nii.gz")
    touch(tmp_path, "out")
    with pytest.raises(UsageError, match="expected a folder"):
        plan_outputs(find_inputs(tmp_path / "in", 1), tmp_path / "in", tmp_path / "out")


def test_existing_results_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.nii.gz", "b.nii.gz", "c.nii.gz")
    out = tmp_path / "out"
    jobs = plan_outputs(find_inputs(tmp_path / "in", 1), tmp_path / "in", out)
    refuse_existing(jobs, probabilities=True)
    touch(out, "b.nii.gz", "c.nii.gz")
    with pytest.raises(UsageError, match=r"results exist already \(2 files\).*--overwrite") as caught:
        refuse_existing(jobs, probabilities=False)
    assert caught.value.exit_code == 2


def test_existing_probabilities_are_seen_when_they_are_asked_for(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.nii.gz")
    jobs = plan_outputs(find_inputs(tmp_path / "in", 1), tmp_path / "in", tmp_path)
    touch(tmp_path / "probabilities", "a_prob_1.nii.gz")
    refuse_existing(jobs, probabilities=False)
    with pytest.raises(UsageError, match=r"\(1 files\)"):
        refuse_existing(jobs, probabilities=True)
