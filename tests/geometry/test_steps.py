"""Stair-steps: smoothed within what rounding allows; edges and exact maps untouched."""

import numpy as np
import pytest

from jointdit_core.geometry.steps import smooth_steps


def rounded(disparity, top=255):
    return (np.rint(disparity * top) / top).astype(np.float32)


def slope(height=120, width=200):
    y, x = np.mgrid[:height, :width] / width
    return (0.2 + 0.13 * x + 0.31 * y).astype(np.float32)


def test_a_slope_comes_back_smooth():
    given, true = rounded(slope()), slope()
    smooth = smooth_steps(given)
    assert np.sqrt(np.mean((smooth - true) ** 2)) < 0.4 * np.sqrt(np.mean((given - true) ** 2))
    steps = np.abs(np.diff(smooth, axis=1))
    assert steps.max() < 0.5 / 255  # what was flat with a jump of a whole level here and there


@pytest.mark.parametrize("top", [60, 255])
def test_rounding_the_result_gives_the_map_back(top):
    rng = np.random.default_rng(0)
    noisy = (slope() + rng.normal(0, 0.01, (120, 200))).clip(0, 1)
    for true in (slope(), noisy, np.where(slope() > 0.35, 1.0, slope())):
        given = rounded(true, top)
        smooth = smooth_steps(given)
        assert smooth.dtype == np.float32 and 0 <= smooth.min() and smooth.max() <= 1
        np.testing.assert_array_equal(rounded(smooth, top), given)


def test_steps_between_things_stay():
    true = slope()
    true[:, 90:] += 0.4
    given = rounded(true)
    jump = np.diff(smooth_steps(given)[:, 88:92], axis=1)
    assert np.abs(jump[:, 1] - 0.4).max() < 0.01


@pytest.mark.parametrize(
    "disparity",
    [
        slope(),  # finer than anyone's 256 levels
        np.full((9, 9), 0.5, np.float32),
        np.where(np.arange(64) < 20, 0.9, 0.3).astype(np.float32)[None].repeat(9, 0),  # two flat things
        np.zeros((1, 1), np.float32),
    ],
)
def test_maps_without_stair_steps_come_back_as_they_are(disparity):
    np.testing.assert_array_equal(smooth_steps(disparity), disparity)


def test_bad_maps_are_named():
    with pytest.raises(ValueError, match="disparity: got NaN"):
        smooth_steps(np.full((4, 4), np.nan, np.float32))
