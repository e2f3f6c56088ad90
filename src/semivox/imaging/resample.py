"""Resampling between grids of the same physical extent (voxel borders coincide, not voxel centers).

Interpolation on such grids is separable, so each axis whose size changes is one product with a sparse matrix of
cubic B-spline (images) or linear (masks, probabilities) weights. The numbers are those of ``SimpleITK.Resample``
with the origin moved by half a voxel; memory is one input and one output, and threads do not change a bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Matrix = Any
"""(new, old) weights of one axis as a scipy.sparse.csr_array; None where the size does not change."""
TIE_SHIFT = -1e-4
"""Voxels by which masks are sampled off the center, which decides ties and nothing else that one could see."""
NEGLIGIBLE = 1e-8
"""Weights below float32's precision are left out."""


def shape_for_spacing(shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Shape:
    """Number of voxels of size ``target_mm`` that fill the extent of the scan, at least one along each axis."""
    return tuple(max(1, round(size * old / new)) for size, old, new in zip(shape, spacing_mm, target_mm, strict=True))


def resample_image(
    array: NDArray[np.float32], shape: Sequence[int], *, anisotropic_axis: int | None = None
) -> NDArray[np.float32]:
    """Resample a scan by cubic B-splines.

    Args:
        array: (X, Y, Z).
        shape: of the result; an axis whose size does not change is not touched.
        anisotropic_axis: this axis (thick slices) is interpolated linearly, which does not ring.

    Returns:
        Float32 array of ``shape``; ``array`` itself when the shape is the same.
    """
    matrices = [
        _weights(old, new, 1 if axis == anisotropic_axis else 3)
        for axis, (old, new) in enumerate(zip(array.shape, shape, strict=True))
    ]
    return _apply(array, matrices)


def resample_label(labels: NDArray, shape: Sequence[int], classes: int) -> NDArray:
    """Resample a label map: each class's mask linearly, then the class with the largest share of each voxel.

    Borders stay crisp and no value appears that was not there. Voxels half way between two classes (half of the
    border when a scan is halved) take the class on their lower side: a fixed winner would shrink all others.

    Args:
        labels: (X, Y, Z) integers below ``classes``.
        shape: of the result.
        classes: K, background included.

    Returns:
        Array of ``shape`` with the dtype of ``labels``; ``labels`` itself when the shape is the same.
    """
    if tuple(shape) == labels.shape:
        return labels
    from scipy import ndimage  # here and below: a quarter of a second that scans on their own grid do without

    matrices = [_weights(old, new, 1, TIE_SHIFT) for old, new in zip(labels.shape, shape, strict=True)]
    best = _apply(labels == 0, matrices)
    result = np.zeros(tuple(shape), dtype=labels.dtype)
    for index, box in enumerate(ndimage.find_objects(labels, max_label=classes - 1), start=1):
        if box is not None:
            rows = tuple(_reached(matrix, part) for matrix, part in zip(matrices, box, strict=True))
            inner = [m if m is None else m[row, part] for m, row, part in zip(matrices, rows, box, strict=True)]
            share = _apply(labels[box] == index, inner)
            _keep_better(best[rows], result[rows], share=share, value=index)
    return result


def resample_linear(array: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Resample linearly, as :func:`resample_probabilities` does with each class.

    Args:
        array: (X, Y, Z).
        shape: of the result.

    Returns:
        Float32 array of ``shape``; ``array`` itself when the shape is the same.
    """
    return _apply(array, [_weights(old, new, 1) for old, new in zip(array.shape, shape, strict=True)])


def resample_probabilities(probabilities: Iterable[NDArray], shape: Sequence[int]) -> NDArray:
    """Resample class probabilities linearly and take the best class of each voxel, one class in memory at a time.

    Args:
        probabilities: K arrays (X, Y, Z), or one array (K, X, Y, Z). Of equal values the lower class wins.
        shape: of the result.

    Returns:
        Array of ``shape``: uint8, or uint16 for more than 256 classes.
    """
    best: NDArray[np.float32] | None = None
    result: NDArray = np.zeros(tuple(shape), dtype=np.uint8)
    for index, probability in enumerate(probabilities):
        share = resample_linear(np.asarray(probability, dtype=np.float32), shape)
        if best is None:
            best = np.array(share)
            continue
        if index > np.iinfo(result.dtype).max:
            result = result.astype(np.uint16)
        _keep_better(best, result, share=share, value=index)
    return result


def _keep_better(best: NDArray[np.float32], result: NDArray, *, share: NDArray[np.float32], value: int) -> None:
    better = share > best
    best[better] = share[better]
    result[better] = value


def _reached(matrix: Matrix, part: slice) -> slice:
    """The rows of a weight matrix that the columns ``part`` contribute to."""
    if matrix is None:
        return part
    rows = np.flatnonzero(np.diff(matrix[:, part].indptr))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def _apply(array: NDArray, matrices: Sequence[Matrix]) -> NDArray[np.float32]:
    """Multiply each axis by its matrix, shrinking axes first, two of those together, plane by plane.

    ``array`` may be a mask: only planes of it become float32.
    """
    work = [(axis, matrix) for axis, matrix in enumerate(matrices) if matrix is not None]
    work.sort(key=lambda item: item[1].shape[0] / item[1].shape[1])
    if len(work) > 1 and work[1][1].shape[0] < work[1][1].shape[1]:
        array = _multiply_two(array, work[0], work[1])
        work = work[2:]
    for axis, matrix in work:
        array = _multiply(array, matrix, axis)
    return array


def _multiply(array: NDArray, matrix: Matrix, axis: int) -> NDArray[np.float32]:
    result = np.empty((*array.shape[:axis], matrix.shape[0], *array.shape[axis + 1 :]), dtype=np.float32)
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)
    for plane in range(source.shape[1]):
        target[:, plane] = matrix @ np.ascontiguousarray(source[:, plane], dtype=np.float32)
    return result


def _multiply_two(array: NDArray, first: tuple[int, Matrix], second: tuple[int, Matrix]) -> NDArray[np.float32]:
    """Two axes at once: what lies between the two products is a plane, not a volume."""
    (axis, matrix), (second_axis, second_matrix) = first, second
    shape = list(array.shape)
    shape[axis], shape[second_axis] = matrix.shape[0], second_matrix.shape[0]
    result = np.empty(shape, dtype=np.float32)
    source, target = (np.moveaxis(part, (axis, second_axis), (0, 1)) for part in (array, result))
    for plane in range(source.shape[2]):
        between = matrix @ np.ascontiguousarray(source[..., plane], dtype=np.float32)
        target[..., plane] = (second_matrix @ np.ascontiguousarray(between.T)).T
    return result


@lru_cache(maxsize=64)
def _weights(old: int, new: int, order: int, shift: float = 0.0) -> Matrix:
    """(new, old) matrix of interpolation weights of a spline of ``order`` 1 or 3 on grids of equal extent.

    ``shift`` moves the sampled positions, in voxels of the old grid.
    """
    if old == new:
        return None
    from scipy import ndimage, sparse

    positions = (np.arange(new) + 0.5) * (old / new) - 0.5 + shift
    first = np.floor(positions).astype(int) - (1 if order == 3 else 0)
    taps = first[:, None] + np.arange(order + 1)
    distance = np.abs(positions[:, None] - taps)
    values = _cubic(distance) if order == 3 else 1 - distance
    matrix = np.zeros((new, old))
    # order 1 repeats the border voxel, order 3 mirrors at its center as ITK does
    columns = np.clip(taps, 0, old - 1) if order == 1 else _mirror(taps, old)
    np.add.at(matrix, (np.arange(new)[:, None], columns), values)
    if order == 3 and old > 1:
        matrix = matrix @ ndimage.spline_filter1d(np.eye(old), order=3, axis=0, mode="mirror")
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0  # the spline's weights fall by a factor of 3.7 with each voxel
    return sparse.csr_array(matrix.astype(np.float32))


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic B-spline at ``distance`` knots from its center."""
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)


def _mirror(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    folded = np.mod(index, period)
    return np.asarray(np.minimum(folded, period - folded))
