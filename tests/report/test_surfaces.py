"""Meshes are closed, look outward, lie where the mask lies, and stay small."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from semivox.report.surfaces import TARGET, Mesh, distances_mm, packed, surface_nets, surface_of


def ball(radius: float, shape: tuple[int, int, int] = (32, 32, 32)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), -1)
    return np.linalg.norm(grid - (np.array(shape) - 1) / 2, axis=-1) < radius


def volume(mesh: Mesh) -> float:
    """Signed: positive when faces look outward."""
    a, b, c = (mesh.vertices_mm[mesh.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def edges(mesh: Mesh) -> Counter:
    pairs = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    return Counter(map(tuple, pairs.tolist()))


def test_a_ball_gives_a_closed_surface_that_looks_outward() -> None:
    mesh = surface_nets(ball(10).astype(float))
    counted = edges(mesh)
    assert set(counted.values()) == {1}
    assert all((end, start) in counted for start, end in counted)
    assert len(mesh.vertices_mm) - len(counted) // 2 + len(mesh.faces) == 2  # Euler's formula of a sphere
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.05)


def test_a_single_voxel_is_a_box_around_its_center() -> None:
    mask = np.zeros((3, 3, 3))
    mask[1, 1, 1] = 1
    mesh = surface_nets(mask)
    assert len(mesh.vertices_mm) == 8
    np.testing.assert_allclose(mesh.vertices_mm.mean(0), [1, 1, 1])


def test_a_mask_at_the_edge_of_the_array_is_closed_as_well() -> None:
    mesh = surface_nets(np.ones((4, 4, 4)))
    assert all((end, start) in edges(mesh) for start, end in edges(mesh))


def test_spacing_and_place_are_kept_and_the_mesh_is_small() -> None:
    mask = np.zeros((120, 120, 60), bool)
    mask[60:110, 60:110, 20:50] = True
    spacing = (1.0, 1.0, 2.0)
    mesh = surface_of(mask, spacing)
    assert mesh is not None
    low, high = mesh.vertices_mm.min(0), mesh.vertices_mm.max(0)
    np.testing.assert_allclose(low, [59.5, 59.5, 39.0], atol=2.0)
    np.testing.assert_allclose(high, [109.5, 109.5, 99.0], atol=2.0)
    assert TARGET / 2 < len(mesh.vertices_mm) < 2 * TARGET


def test_small_structures_stay_and_nothing_gives_nothing() -> None:
    mask = np.zeros((20, 20, 20), bool)
    assert surface_of(mask, (1, 1, 1)) is None
    mask[9:12, 9:12, 9:12] = True
    mesh = surface_of(mask, (1, 1, 1))
    assert mesh is not None
    assert volume(mesh) == pytest.approx(27, rel=0.5)


def test_distances_are_those_to_the_other_surface() -> None:
    inner, outer = ball(8), ball(12)
    mesh = surface_of(outer, (1, 1, 1))
    assert mesh is not None
    assert distances_mm(mesh, inner, (1, 1, 1)).mean() == pytest.approx(4, abs=0.7)
    assert distances_mm(mesh, outer, (1, 1, 1)).mean() < 0.3
    assert not distances_mm(mesh, np.zeros_like(inner), (1, 1, 1)).any()


def test_packed_numbers_are_read_back() -> None:
    import base64

    mesh = Mesh(np.array([[0.0, 5.0, 10.0], [10.0, 0.0, 2.5], [1.0, 1.0, 1.0]]), np.array([[0, 1, 2]]))
    found = packed(mesh, np.array([10.0, 10.0, 10.0]), np.array([0.0, 1.26, 99.0]))
    whole = np.frombuffer(base64.b64decode(found["vertices"]), "<u2").reshape(3, 3)
    np.testing.assert_allclose((whole - 1.0) / 65533 * 10, mesh.vertices_mm, atol=2e-4)
    assert np.frombuffer(base64.b64decode(found["faces"]), "<u2").tolist() == [0, 1, 2]
    assert np.frombuffer(base64.b64decode(found["distances"]), "u1").tolist() == [0, 13, 255]
