"""Normals: exact on planes, true on spheres, flat on either side of a step."""

import numpy as np
import pytest

from jointdit_core.geometry.normals import surface_normals
from tests.geometry.test_lift import exact_disparity, rays, slanted_plane


def off_deg(normals, true):
    return np.degrees(np.arccos(np.clip((normals * true).sum(-1), -1, 1)))


@pytest.mark.parametrize("fov_deg", [30, 95])
@pytest.mark.parametrize("size", [(48, 80), (400, 300)])
def test_normals_of_a_plane_are_exact_and_face_the_camera(fov_deg, size):
    normal = np.array([0.2, 0.5, 0.8]) / np.linalg.norm([0.2, 0.5, 0.8])
    disparity, ratio, _ = exact_disparity(slanted_plane(*size, fov_deg, normal))
    found = surface_normals(disparity, fov_deg, ratio)
    assert found.dtype == np.float32 and found.shape == (*size, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    assert off_deg(found, -normal).max() < 0.1


def test_normals_of_a_sphere_point_away_from_its_centre():
    centre, radius = np.array([0.1, -0.2, 4.0]), 1.0
    direction = rays(96, 96, 40)
    b, a = direction @ centre, (direction**2).sum(-1)
    inside = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, 8.0)
    disparity, ratio, unit = exact_disparity(depth)
    true = (direction * depth[..., None] - centre) / radius
    off = off_deg(surface_normals(disparity, 40, ratio), true)
    assert np.median(off[inside > 0]) < 0.5 and np.percentile(off[inside > 0.3], 99) < 3


def test_a_step_has_no_wall():
    disparity = np.tile(np.where(np.arange(64) < 30, 0.9, 0.2).astype(np.float32), (32, 1))
    for one in (disparity, disparity.T.copy()):
        np.testing.assert_allclose(surface_normals(one), np.broadcast_to([0, 0, -1], (*one.shape, 3)), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_tiny_maps_have_normals(shape):
    np.testing.assert_allclose(surface_normals(np.full(shape, 0.5, np.float32))[..., 2], -1)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="fov_deg: got 151"):
        surface_normals(np.zeros((4, 4), np.float32), 151)
    with pytest.raises(ValueError, match="disparity: got NaN"):
        surface_normals(np.full((4, 4), np.nan, np.float32))
