from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from semivox.metrics import nearest
from semivox.metrics.nearest import distances_to

SPACINGS = (None, (1.0, 1.0, 1.0), (0.625, 0.625, 1.25), (3.0, 0.2, 1.7), (0.625, 0.625, 0.625))


def by_tree(target: np.ndarray, source: np.ndarray, spacing: tuple[float, ...] | None) -> np.ndarray:
    steps = spacing or (1.0,) * target.ndim
    return KDTree(np.argwhere(target) * steps).query(np.argwhere(source) * steps)[0]


def sparse(shape: tuple[int, ...], seed: int, share: float) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < share
    mask[(0,) * len(shape)] = True
    return mask


@pytest.mark.parametrize("voxels_per_query", [0, 10**9], ids=["tree", "transform"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5])  # from all far away to all near
def test_is_the_distance_to_the_nearest_of_all(
    share: float, spacing: tuple[float, ...] | None, voxels_per_query: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "VOXELS_PER_QUERY", voxels_per_query)
    for shape in ((17, 23, 14), (1, 30, 2), (40, 37)):
        target, source = sparse(shape, 1, share), sparse(shape, 2, 0.1)
        steps = spacing and spacing[: len(shape)]
        found = distances_to(target, source, steps)
        np.testing.assert_allclose(found, by_tree(target, source, steps), rtol=1e-14, atol=0)


def test_the_way_taken_changes_no_voxel_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    target, source = sparse((20, 21, 22), 3, 0.002), sparse((20, 21, 22), 4, 0.2)
    results = []
    for reach, voxels_per_query in ((0, 0), (0, 10**9), (1, 0), (3, 10**9)):
        monkeypatch.setattr(nearest, "REACH", reach)
        monkeypatch.setattr(nearest, "VOXELS_PER_QUERY", voxels_per_query)
        nearest._shells.cache_clear()
        results.append(distances_to(target, source))
    nearest._shells.cache_clear()
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
