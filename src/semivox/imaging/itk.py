"""Writing NRRD and MetaImage through SimpleITK (reading is ours: see ``nrrd``, ``metaimage`` and ``payload``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semivox.imaging.geometry import Geometry


def write_itk(path: Path, array: NDArray, geometry: Geometry) -> None:
    """Write (X, Y, Z) voxels with exact spacing, origin and direction, compressed; the ending decides the format."""
    import SimpleITK  # here: a tenth of a second that reading and NIfTI do without

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
