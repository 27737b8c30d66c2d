"""The lift: known shapes come back, pixels survive the round trip, edges are cut and surfaces are not."""

import time

import numpy as np
import pytest

from jointdit_core.geometry.camera import intrinsics
from jointdit_core.geometry.disparity import disparity_to_depth
from jointdit_core.geometry.edges import mixed_pixels
from jointdit_core.geometry.lift import EDGE_THRESHOLD, lift, lift_mesh, project

RNG = np.random.default_rng(3)


def picture(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def rays(height, width, fov_deg):
    """Directions (H, W, 3) with z = 1 through the pixel centres, written out independently of the library."""
    f_px = max(height, width) / 2 / np.tan(np.radians(fov_deg / 2))
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 0.5 - width / 2) / f_px, (y + 0.5 - height / 2) / f_px, np.ones(x.shape)], axis=-1)


def exact_disparity(depth):
    """Disparity of a true depth map, its far/near ratio and the length that the lift calls 1."""
    near, far = depth.min(), depth.max()
    return ((1 / depth - 1 / far) / (1 / near - 1 / far)).astype(np.float32), far / near, near


def slanted_plane(height, width, fov_deg, normal, distance=3.0):
    return distance / (rays(height, width, fov_deg) @ normal)


@pytest.mark.parametrize("fov_deg", [30, 55, 95])
def test_plane_comes_back_with_its_normal(fov_deg):
    normal = np.array([0.2, 0.5, 0.8]) / np.linalg.norm([0.2, 0.5, 0.8])
    disparity, ratio, unit = exact_disparity(slanted_plane(48, 80, fov_deg, normal))
    points = lift(picture(48, 80), disparity, fov_deg, ratio).points.astype(np.float64) * unit
    assert len(points) == 48 * 80
    fitted = np.linalg.svd(points - points.mean(0))[2][2]
    assert np.degrees(np.arccos(min(1, abs(fitted @ normal)))) < 0.1
    np.testing.assert_allclose(points @ normal, 3.0, rtol=1e-4)


@pytest.mark.parametrize("fov_deg", [40, 70])
def test_sphere_comes_back_with_its_radius(fov_deg):
    centre, radius = np.array([0.1, -0.2, 4.0]), 1.0
    direction = rays(96, 96, fov_deg)
    b, a = direction @ centre, (direction**2).sum(-1)
    inside = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, 8.0)
    disparity, ratio, unit = exact_disparity(depth)
    cloud = lift(picture(96, 96), disparity, fov_deg, ratio)
    x, y = cloud.pixel.T
    points = cloud.points[inside[y, x] > 0] * unit
    assert len(points) > 0.9 * np.count_nonzero(inside > 0)
    assert np.abs(np.linalg.norm(points - centre, axis=1) / radius - 1).max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 2), (7, 300), (1024, 768)])
def test_project_undoes_lift(height, width):
    cloud = lift(picture(height, width), RNG.random((height, width), np.float32), 100, 20, edge_threshold=None)
    assert np.abs(project(cloud.points, cloud.intrinsics) - (cloud.pixel + 0.5)).max() < 1e-4


def test_points_carry_their_pixels_and_colors():
    image, disparity = picture(6, 5), np.linspace(0.3, 0.31, 30, dtype=np.float32).reshape(6, 5)
    cloud = lift(image, disparity)
    x, y = cloud.pixel.T
    np.testing.assert_array_equal(cloud.colors, image[y, x])
    np.testing.assert_array_equal(cloud.pixel, [(x, y) for y in range(6) for x in range(5)])
    assert (cloud.points.dtype, cloud.colors.dtype, cloud.pixel.dtype) == (np.float32, np.uint8, np.int32)
    top_left, bottom_right = cloud.points[0], cloud.points[-1]
    assert (top_left[:2] < 0).all() and (bottom_right[:2] > 0).all() and (cloud.points[:, 2] > 0).all()


@pytest.mark.parametrize("ramp", [[0.5], [0.9, 0.4], [0.8, 0.5, 0.2], [0.8, 0.6, 0.4, 0.2]])
@pytest.mark.parametrize("turned", [False, True])
def test_edge_cut_removes_the_mixed_pixels_of_a_step(ramp, turned):
    row = np.array([1.0] * 20 + ramp + [0.0] * 20, np.float32)
    disparity = np.tile(row, (24, 1))
    disparity = disparity.T if turned else disparity
    mixed = mixed_pixels(1 / disparity_to_depth(disparity), EDGE_THRESHOLD)
    np.testing.assert_array_equal(mixed, (disparity > 0) & (disparity < 1))


def test_edge_cut_follows_a_smeared_disc_but_keeps_hard_edges_and_thin_legs():
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(x - 100, y - 100)
    hard = np.where(distance < 60, 0.9, 0.1).astype(np.float32)
    hard[:, 20:22] = 0.8  # a thin leg
    assert not mixed_pixels(1 / disparity_to_depth(hard), EDGE_THRESHOLD).any()
    smeared = (0.1 + 0.8 * np.clip((61.5 - distance) / 3, 0, 1)).astype(np.float32)
    between = (smeared > 0.15) & (smeared < 0.8)
    mixed = mixed_pixels(1 / disparity_to_depth(smeared), EDGE_THRESHOLD)
    assert np.count_nonzero(mixed & between) > 0.95 * np.count_nonzero(between)
    assert not (mixed & ((smeared <= 0.1) | (smeared >= 0.9))).any()


def test_edge_cut_finds_the_wide_ramps_of_an_enlarged_map():
    row = np.interp(np.arange(1024), [508, 516], [1.0, 0.2]).astype(np.float32)
    mixed = mixed_pixels(1 / disparity_to_depth(np.tile(row, (8, 1))), EDGE_THRESHOLD)[0]
    np.testing.assert_array_equal(np.flatnonzero(mixed), np.arange(509, 516))


def test_edge_cut_follows_a_step_smeared_as_models_smear_it():
    ramp = np.array([1, 0.98, 0.9, 0.75, 0.55, 0.35, 0.2, 0.12, 0.1], np.float32)
    disparity = np.tile(np.concatenate([np.full(100, 1, np.float32), ramp, np.full(100, 0.1, np.float32)]), (12, 1))
    mixed = mixed_pixels(1 / disparity_to_depth(disparity), EDGE_THRESHOLD)[0]
    between = (disparity[0] < 0.85) & (disparity[0] > 0.15)
    np.testing.assert_array_equal(mixed & between, between)
    assert not mixed[:100].any() and not mixed[-100:].any()


def test_a_level_of_noise_far_away_is_no_edge():
    noise = RNG.integers(0, 2, (128, 128)) / np.float32(255)
    depth = disparity_to_depth(noise, 40)
    assert np.abs(np.diff(depth)).max() > EDGE_THRESHOLD * 40  # a jump of several percent
    assert not mixed_pixels(1 / depth, EDGE_THRESHOLD).any()


@pytest.mark.parametrize("normal", [(0, 0.98, 0.2), (0.7, 0.7, 0.15), (0.9, 0.1, 0.42)])
@pytest.mark.parametrize("levels", [None, 65535, 255])
def test_edge_cut_keeps_slanted_planes(normal, levels):
    direction = rays(64, 64, 40)
    depth = 1 / np.maximum(direction @ (np.array(normal) / np.linalg.norm(normal)), 1e-3)
    disparity = np.clip((1 / depth - 0.1) / (1 / depth).max(), 0, 1)  # a plane that runs into a far wall
    disparity = (disparity if levels is None else np.rint(disparity * levels) / levels).astype(np.float32)
    mixed = mixed_pixels(1 / disparity_to_depth(disparity, 20), EDGE_THRESHOLD)
    jumps = np.abs(np.diff(disparity_to_depth(disparity, 20), axis=0 if normal[1] > 0.5 else 1))
    assert np.count_nonzero(jumps > EDGE_THRESHOLD * 20) > 20  # steep enough to be mistaken for an edge
    # Where border and wall leave less of the plane than a long ramp, nothing tells the two apart.
    assert np.count_nonzero(mixed) <= (0.003 if levels is None else 0.01) * mixed.size


def test_sky_is_dropped_only_when_asked():
    disparity = np.linspace(0, 1, 32, dtype=np.float32).repeat(32).reshape(32, 32)
    disparity[:8] = 0
    image = picture(32, 32)
    assert len(lift(image, disparity, edge_threshold=None).points) == 32 * 32
    assert lift(image, disparity, edge_threshold=None, drop_sky=True).pixel[:, 1].min() == 8


@pytest.mark.parametrize("budget", [1, 50, 1000, 5000, 10**9])
def test_point_budget_is_met_by_a_regular_grid(budget):
    image, disparity = picture(90, 120), RNG.random((90, 120), np.float32) * 0.01
    disparity[:, :30] = 0
    cloud = lift(image, disparity, drop_sky=True, edge_threshold=None, max_points=budget)
    full = lift(image, disparity, drop_sky=True, edge_threshold=None)
    again = lift(image, disparity, drop_sky=True, edge_threshold=None, max_points=budget)
    np.testing.assert_array_equal(cloud.pixel, again.pixel)
    assert min(0.7 * budget, len(full.points)) <= len(cloud.points) <= budget
    if budget == 1000:
        gaps = np.diff(np.unique(cloud.pixel[:, 0]))
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("function", [lift, lift_mesh])
def test_a_constant_map_is_refused(function):
    with pytest.raises(ValueError, match=r"disparity: got 0\.4 everywhere"):
        function(picture(9, 9), np.full((9, 9), 0.4, np.float32))


def test_mesh_covers_a_plane_without_holes_facing_the_camera():
    disparity = np.linspace(0.2, 0.9, 20 * 30, dtype=np.float32).reshape(20, 30)
    mesh = lift_mesh(picture(20, 30), disparity)
    assert len(mesh.vertices) == 600 and len(mesh.faces) == 2 * 19 * 29
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    assert ((np.cross(b - a, c - a) * (a + b + c)).sum(-1) < 0).all()  # normals point back at the camera
    np.testing.assert_allclose(mesh.uv * (30, 20), project(mesh.vertices, mesh.intrinsics), atol=1e-4)


@pytest.mark.parametrize("ramp", [[], [0.5], [0.8, 0.4]])
def test_mesh_does_not_bridge_a_step(ramp):
    disparity = np.tile(np.array([0.9] * 10 + ramp + [0.1] * 10, np.float32), (16, 1))
    mesh = lift_mesh(picture(*disparity.shape), disparity)
    assert np.ptp(mesh.vertices[mesh.faces][:, :, 2], axis=1).max() < 1e-6
    assert len(mesh.faces) == 2 * 2 * 9 * 15
    closed = lift_mesh(picture(*disparity.shape), disparity, edge_threshold=None)
    assert len(closed.faces) == 2 * 15 * (disparity.shape[1] - 1)


def test_mesh_keeps_the_triangle_beside_a_hole():
    disparity = np.full((3, 3), 0.5, np.float32)
    disparity[0, 0] = 0  # sky in one corner: of its cell one triangle is left
    mesh = lift_mesh(picture(3, 3), disparity, edge_threshold=None, drop_sky=True)
    assert len(mesh.vertices) == 8 and len(mesh.faces) == 7


def test_mesh_budget_bounds_the_vertices():
    disparity = RNG.random((64, 64), np.float32) * 0.01
    mesh = lift_mesh(picture(64, 64), disparity, max_vertices=500)
    assert 350 < len(mesh.vertices) <= 500 and mesh.faces.max() == len(mesh.vertices) - 1


GOOD = {"image": np.zeros((4, 6, 3), np.uint8), "disparity": np.full((4, 6), 0.5, np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 5, 3), np.uint8)}, r"image: got uint8 of shape \(4, 5, 3\), allowed .*\(4, 6, 3\)"),
        ({"image": np.zeros((4, 6), np.uint8)}, "image: got"),
        ({"image": np.zeros((4, 6, 3), np.float32)}, "image: got float32"),
        ({"disparity": np.full((4, 6), np.nan, np.float32)}, "disparity: got NaN"),
        ({"disparity": np.zeros((4, 6, 3), np.float32)}, "disparity: got shape"),
        ({"fov_deg": 3}, "fov_deg: got 3"),
        ({"fov_deg": 170}, r"allowed is \[5, 150\]"),
        ({"far_over_near": 1}, "far_over_near: got 1"),
        ({"edge_threshold": 0}, "edge_threshold: got 0"),
        ({"edge_threshold": float("nan")}, "edge_threshold: got nan"),
        ({"disparity": np.zeros((4, 6), np.float32), "drop_sky": True}, "only sky"),
        ({"disparity": np.broadcast_to(np.float32(0.5), (20_000, 20_000))}, "got 400000000 pixels, allowed"),
    ],
)
def test_bad_arguments_are_named(change, words):
    for function in (lift, lift_mesh):
        with pytest.raises(ValueError, match=words):
            function(**{**GOOD, **change})


def test_bad_budgets_and_points_are_named():
    with pytest.raises(ValueError, match="max_points: got 0"):
        lift(**GOOD, max_points=0)
    with pytest.raises(ValueError, match="max_vertices: got -1"):
        lift_mesh(**GOOD, max_vertices=-1)
    with pytest.raises(ValueError, match="no triangle"):
        lift_mesh(np.zeros((1, 9, 3), np.uint8), np.zeros((1, 9), np.float32))
    with pytest.raises(ValueError, match="points: got"):
        project(np.array([[0.0, 0, -1]]), intrinsics(4, 4))


def test_a_megapixel_lifts_within_a_second():
    y, x = np.mgrid[:1024, :1024]
    disparity = np.where(np.hypot(x - 500, y - 400) < 300, 0.9, 0.1 + 0.5 * y / 1024).astype(np.float32)
    image = picture(1024, 1024)
    for function in (lift, lift_mesh):
        spent = []
        for _ in range(2):
            start = time.process_time()
            function(image, disparity)
            spent.append(time.process_time() - start)
        assert min(spent) < 1.0
