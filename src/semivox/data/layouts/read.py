"""Reading the voxels of a case, whatever its layout."""

from __future__ import annotations

from pathlib import Path

from semivox.data.cases import CaseFiles
from semivox.errors import InputError
from semivox.imaging.files import Scan, read_channels, read_image, read_label
from semivox.imaging.hdf5 import read_la_case
from semivox.wording import count_of


def is_la_file(path: Path) -> bool:
    """Whether the file is a case of the literature's LA layout: image and mask in one HDF5 file."""
    return path.suffix == ".h5"


def read_case_images(case: CaseFiles) -> list[Scan]:
    """Read every channel of a case, each (X, Y, Z) float32.

    Raises:
        InputError: what the reader finds wrong with a file.
    """
    return [scan for path in case.images for scan in read_scans(case, path)]


def read_scans(case: CaseFiles, path: Path) -> list[Scan]:
    """Read one of the files of a case: one channel, (X, Y, Z) float32, or all of a file that holds several.

    Raises:
        InputError: what the reader finds wrong with the file; D5, it holds another number of channels.
    """
    if case.stacked == 1:
        return [read_la_case(path)[0] if is_la_file(path) else read_image(path)]
    scans = read_channels(path)
    if len(scans) != case.stacked:
        raise InputError("D5", path, f"the file holds {count_of(len(scans), 'channel')} along its fourth axis, the "
                         f"dataset has {case.stacked}", "replace the file, or remove the case")
    return scans


def read_case_label(case: CaseFiles) -> Scan:
    """Read the mask of a case, (X, Y, Z) integers.

    Raises:
        InputError: D3, the case has no mask; or what the reader finds wrong with the file.
    """
    if case.label is None:
        raise InputError("D3", case.name, "this case has no mask", "add one to labelsTr")
    if not is_la_file(case.label):
        return read_label(case.label)
    label = read_la_case(case.label)[1]
    if label is None:
        raise InputError("I46", case.label, "has no dataset 'label'", "add the mask to the file")
    return label
