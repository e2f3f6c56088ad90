"""Pairs of masks that metrics must get right: random, tiny, touching the border, one slice, 2D."""

from __future__ import annotations

import numpy as np
import pytest

from semivox.seeding import numpy_generator


def blobs(shape: tuple[int, ...], seed: int, level: float) -> np.ndarray:
    """A random mask with connected parts, on any grid, touching the border now and then."""
    noise = numpy_generator(seed, "blobs").standard_normal(shape)
    for axis in range(len(shape)):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return noise > level * noise.std()


def block(shape: tuple[int, ...], *bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


def mask_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    one, other = np.zeros((9, 12, 7), bool), np.zeros((9, 12, 7), bool)
    one[0, 0, 0] = other[8, 11, 6] = True
    return {
        "random": (blobs((17, 13, 11), 0, 0.8), blobs((17, 13, 11), 1, 0.8)),
        "random sparse": (blobs((21, 9, 14), 2, 2.2), blobs((21, 9, 14), 3, 2.0)),
        "salt and pepper": (blobs((12, 12, 12), 4, 0.0), blobs((12, 12, 12), 5, 1.5)),
        "one voxel each, opposite corners": (one, other),
        "one voxel against many": (one, blobs((9, 12, 7), 6, 0.5)),
        "the same voxel": (one, one.copy()),
        "equal": (blobs((10, 10, 10), 7, 0.7), blobs((10, 10, 10), 7, 0.7)),
        "touching every border": (np.ones((8, 9, 10), bool), block((8, 9, 10), (0, 8), (0, 9), (3, 10))),
        "touching one border": (block((8, 9, 10), (0, 3), (2, 6), (2, 6)), block((8, 9, 10), (1, 4), (2, 6), (4, 8))),
        "one slice thick": (block((8, 9, 10), (4, 5), (2, 6), (2, 6)), block((8, 9, 10), (3, 6), (2, 7), (2, 6))),
        "2D": (blobs((31, 22), 8, 0.9), blobs((31, 22), 9, 0.9)),
        "2D at the border": (block((6, 7), (0, 6), (0, 2)), block((6, 7), (2, 6), (4, 7))),
    }


PAIRS = mask_pairs()


@pytest.fixture(params=list(PAIRS), ids=lambda name: name.replace(" ", "-"))
def masks(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, reference), neither of them empty."""
    return PAIRS[request.param]
