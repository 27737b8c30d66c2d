"""The recovered camera: box rooms of known cameras come back, the known stays, bad maps are named."""

import time

import numpy as np
import pytest

from jointdit_core.geometry.camera import FOV_DEG
from jointdit_core.geometry.disparity import FAR_OVER_NEAR
from jointdit_core.geometry.planes import find_planes
from jointdit_core.geometry.recover import estimate_camera


def box_room(fov_deg, yaw_deg, pitch_deg, height=160, width=200):
    """Depth (H, W) in a room of 5 x 3 x 6 with a cabinet in it, seen by a turned camera, written out in float64."""
    f_px = width / 2 / np.tan(np.radians(fov_deg / 2))
    y, x = np.mgrid[:height, :width]
    rays = np.stack([(x + 0.5 - width / 2) / f_px, (y + 0.5 - height / 2) / f_px, np.ones(x.shape)], axis=-1)
    (s, c), (sp, cp) = ((np.sin(a), np.cos(a)) for a in np.radians([yaw_deg, pitch_deg]))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    direction = rays @ turn.T
    with np.errstate(divide="ignore"):
        walls = np.where(direction > 0, (2.5, 1.4, 5.0), (-2.5, -1.6, -1.0)) / direction
        enter, leave = np.sort(np.array([(-1.5, 0.5, 2.5), (-0.4, 1.4, 3.2)])[:, None, None] / direction, axis=0)
    room, first, last = walls.min(-1), enter.max(-1), leave.min(-1)
    return np.where((first < last) & (first > 0), first, room)


def exact_disparity(depth):
    inverse = 1 / depth
    return ((inverse - inverse.min()) / np.ptp(inverse)).astype(np.float32), float(depth.max() / depth.min())


@pytest.mark.parametrize(
    ("fov_deg", "yaw_deg", "pitch_deg"), [(42, -35, 5), (60, -35, 5), (60, 25, 10), (80, -35, 5), (80, 25, 10)]
)
@pytest.mark.parametrize("levels", [None, 255])
def test_room_with_three_directions_gives_its_camera(fov_deg, yaw_deg, pitch_deg, levels):
    disparity, ratio = exact_disparity(box_room(fov_deg, yaw_deg, pitch_deg))
    if levels:
        disparity = np.rint(disparity * levels).astype(np.float32) / levels
    found = estimate_camera(disparity)
    assert found.fov_deg == pytest.approx(fov_deg, abs=5)
    assert found.far_over_near == pytest.approx(ratio, rel=0.08)
    assert found.planes >= 3
    assert estimate_camera(disparity) == found


def test_answer_is_the_same_upright_turned_and_larger():
    disparity, _ = exact_disparity(box_room(60, 25, 10, 192, 192))
    found = estimate_camera(disparity)
    for other in (disparity.T.copy(), disparity[:, ::-1], disparity.repeat(3, axis=0).repeat(3, axis=1)):
        again = estimate_camera(other)
        assert again.fov_deg == pytest.approx(found.fov_deg, abs=2)
        assert again.far_over_near == pytest.approx(found.far_over_near, rel=0.06)


def test_known_field_of_view_stays_and_tells_the_far_plane():
    disparity, ratio = exact_disparity(box_room(75, 25, 10))
    found = estimate_camera(disparity, fov_deg=75)
    assert found.fov_deg == 75
    assert found.far_over_near == pytest.approx(ratio, rel=0.06)


def test_planes_are_those_that_were_drawn():
    y, x = np.mgrid[:200, :200] / 100 - 0.995
    disparity = np.where(x < 0, 0.5 + 0.3 * x + 0.1 * y, 0.3 - 0.2 * y).astype(np.float32)
    planes = find_planes(disparity)
    assert len(planes.share) == 2 and planes.share.sum() > 0.9
    expected = [(0.3, 0.1, 0.5), (0, -0.2, 0.3)]
    order = np.argsort(-planes.coefficients[:, 0])
    np.testing.assert_allclose(planes.coefficients[order], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 9), (3, 3), (64, 64)])
def test_picture_without_planes_keeps_the_defaults(shape):
    noise = np.random.default_rng(0).random(shape, np.float32)
    found = estimate_camera(noise)
    assert (found.fov_deg, found.far_over_near) == (FOV_DEG, FAR_OVER_NEAR) and found.planes < 2
    assert estimate_camera(noise, fov_deg=30).fov_deg == 30


@pytest.mark.parametrize(
    ("disparity", "fov_deg", "words"),
    [
        (np.full((9, 9), 0.4, np.float32), None, "disparity: got 0.4 everywhere"),
        (np.zeros((9, 9), np.float32), None, "disparity: got 0 everywhere"),
        (np.full((9, 9), np.nan, np.float32), None, "disparity: got NaN"),
        (np.eye(9, dtype=np.float32), 4, "fov_deg: got 4"),
        (np.eye(9, dtype=np.float32), 151, r"fov_deg: got 151, allowed is \[5, 150\]"),
    ],
)
def test_bad_arguments_are_named(disparity, fov_deg, words):
    with pytest.raises(ValueError, match=words):
        estimate_camera(disparity, fov_deg)


def test_estimate_is_quick():
    disparity, _ = exact_disparity(box_room(60, 25, 10, 256, 256))
    spent = []
    for _ in range(3):
        start = time.process_time()
        estimate_camera(disparity)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.3
