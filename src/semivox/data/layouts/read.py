"""Reading the voxels of a case, whatever its layout."""

from __future__ import annotations

from pathlib import Path

from semivox.data.cases import CaseFiles
from semivox.errors import InputError
from semivox.imaging.files import Scan, read_image, read_label
from semivox.imaging.hdf5 import read_la_case


def is_la_file(path: Path) -> bool:
    """Whether the file is a case of the literature's LA layout: image and mask in one HDF5 file."""
    return path.suffix == ".h5"


def read_case_images(case: CaseFiles) -> list[Scan]:
    """Read every channel of a case, each (X, Y, Z) float32.

    Raises:
        InputError: what the reader finds wrong with a file.
    """
    return [read_channel(path) for path in case.images]


def read_channel(path: Path) -> Scan:
    """Read one channel's file, (X, Y, Z) float32.

    Raises:
        InputError: what the reader finds wrong with the file.
    """
    return read_la_case(path)[0] if is_la_file(path) else read_image(path)


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
