"""Views drawn from a result's mesh: the photo's own comes back, near things move, holes take what lies behind."""

import numpy as np
import pytest

from jointdit_core.geometry.lift import lift_mesh
from jointdit_core.geometry.render import fill_holes, render
from jointdit_core.geometry.views import anaglyph, parallax_frames, side_by_side, stereo_pair

SIZE = 96


def photo():
    """Smooth colours, a slope, and a near red square in the middle of it."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = np.stack([60 + 80 * y, 120 + 60 * np.sin(6 * x), 140 + 60 * np.cos(5 * y)], axis=-1)
    disparity = 0.3 * y
    near = (np.abs(x - 0.5) < 0.15) & (np.abs(y - 0.5) < 0.15)
    image[near], disparity[near] = (250, 20, 20), 1.0
    return np.rint(image).astype(np.uint8), disparity.astype(np.float32), near


def red(picture):
    return (picture[..., 0] > 200) & (picture[..., 1] < 80)


@pytest.fixture(scope="module")
def scene():
    image, disparity, _ = photo()
    return lift_mesh(image, disparity), image


def test_own_camera_sees_the_photo(scene):
    mesh, image = scene
    view, inverse_depth = render(mesh, image, (0.0, 0.0), 1.0)
    drawn = inverse_depth > 0
    assert drawn.mean() > 0.9
    error = (view[drawn].astype(float) - image[drawn]) ** 2
    assert 10 * np.log10(255**2 / max(1e-3, error.mean())) > 30
    filled = fill_holes(view, inverse_depth)
    np.testing.assert_array_equal(filled[drawn], view[drawn])
    assert (filled[~drawn].max(-1) > 0).all()


def test_near_things_move_between_the_eyes_by_the_shift_asked_for(scene):
    mesh, image = scene
    left, right = stereo_pair(mesh, image, shift=0.08)
    assert left.shape == right.shape == image.shape
    middle = [np.flatnonzero(red(picture).any(0)).mean() for picture in (left, right)]
    # The near end of the depth takes half of the largest offset to each side; the other half is the far end's.
    assert middle[0] - middle[1] == pytest.approx(0.08 * SIZE, abs=1.0)
    assert red(left).sum() == pytest.approx(red(image).sum(), rel=0.1)


def test_what_a_near_thing_uncovers_is_painted_like_what_lies_behind(scene):
    mesh, image = scene
    view, inverse_depth = render(mesh, image, (30.0, 0.0), 1.0)
    hole = inverse_depth == 0
    filled = fill_holes(view, inverse_depth)
    beside = hole & (np.abs(np.mgrid[:SIZE, :SIZE][0] / SIZE - 0.5) < 0.1)
    assert beside.any() and not red(filled)[beside].any()


def test_anaglyph_shows_each_eye_its_own(scene):
    left, right = stereo_pair(*scene)
    merged = anaglyph(left, right)
    np.testing.assert_array_equal(merged[..., 1:], right[..., 1:])
    gray = np.full((2, 2, 3), 90, np.uint8)
    np.testing.assert_array_equal(anaglyph(gray, gray), gray)
    assert side_by_side(left, right).shape == (SIZE, 2 * SIZE, 3)


def test_parallax_circles_without_holes(scene):
    frames = parallax_frames(*scene, frames=6)
    assert len(frames) == 6 and all(frame.shape == (SIZE, SIZE, 3) for frame in frames)
    assert all((frame.max(-1) > 0).all() for frame in frames)
    steps = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert min(steps) > 0 and max(steps) < 3 * min(steps)  # the last leads back to the first as evenly as the others


def test_a_flat_wall_shows_no_parallax():
    image, disparity, _ = photo()
    flat = np.full_like(disparity, 0.5)
    flat[0, 0] += 1e-6
    left, right = stereo_pair(lift_mesh(image, flat), image)
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda mesh, image: stereo_pair(mesh, image, 0.0), "shift: got 0.0"),
        (lambda mesh, image: stereo_pair(mesh, image, 0.3), "shift: got 0.3"),
        (lambda mesh, image: parallax_frames(mesh, image, frames=1), "frames: got 1"),
        (lambda mesh, image: render(mesh, image[:50], (0.0, 0.0), 1.0), "image: got uint8 of shape"),
        (lambda mesh, image: render(mesh, image.astype(float), (0.0, 0.0), 1.0), "image: got float64"),
        (lambda mesh, image: render(mesh, image, (0.0, 0.0), -1.0), "pivot: got -1.0"),
    ],
)
def test_bad_arguments_are_named(scene, call, words):
    with pytest.raises(ValueError, match=words):
        call(*scene)
