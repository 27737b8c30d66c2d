"""Disparity: conversions exact, colours ordered, bad maps named."""

import numpy as np
import pytest

from jointdit_core.geometry import disparity as d


def test_depth_runs_from_one_to_the_ratio():
    depth = d.disparity_to_depth(np.array([[0.0, 0.5, 1.0]], np.float32), far_over_near=4)
    np.testing.assert_allclose(depth, [[4, 1 / (0.25 + 0.375), 1]], rtol=1e-6)
    assert depth.dtype == np.float32


def test_uint16_keeps_every_level():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(d.to_uint16(d.from_uint16(levels)), levels)


def test_normalise_reaches_both_ends_and_keeps_the_order():
    values = np.array([[3, 5], [4, 7]], np.int32)
    np.testing.assert_allclose(d.normalise_disparity(values), [[0, 0.5], [0.25, 1]])


def test_normalise_makes_a_constant_map_a_wall():
    np.testing.assert_array_equal(d.normalise_disparity(np.full((3, 4), 7.0)), np.full((3, 4), 0.5))


def test_normalise_clips_outliers():
    values = np.linspace(0, 1, 1000).reshape(10, 100)
    values[0, 0], values[-1, -1] = -50, 50
    clipped = d.normalise_disparity(values, clip_percent=1)
    assert 0.45 < clipped[5, 0] < 0.55 and clipped.min() == 0 and clipped.max() == 1


@pytest.mark.parametrize("colormap", d.COLORMAPS)
def test_colorize_tells_near_from_far(colormap):
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colors = d.colorize(ramp, colormap)
    assert colors.shape == (1, 256, 3) and colors.dtype == np.uint8
    assert len(np.unique(colors[0], axis=0)) > 200
    np.testing.assert_array_equal(d.colorize(ramp, colormap, invert=True), colors[:, ::-1])


def test_clipped_colours_spread_over_what_is_between():
    ramp = np.linspace(0.4, 0.6, 101, dtype=np.float32)[None]
    ramp[0, 0], ramp[0, -1] = 0, 1  # two outliers
    plain, clipped = d.colorize(ramp, "gray"), d.colorize(ramp, "gray", clip_percent=10)
    assert plain[0, 90, 0] - int(plain[0, 10, 0]) < 60
    assert (clipped[0, :11] == 0).all() and (clipped[0, 90:] == 255).all()
    assert (np.diff(clipped[0, 10:91, 0].astype(int)) > 0).all()
    flat = np.full((2, 2), 0.3, np.float32)
    np.testing.assert_array_equal(d.colorize(flat, clip_percent=10), d.colorize(flat))
    for wrong in (-1, 50, float("nan")):
        with pytest.raises(ValueError, match="clip_percent"):
            d.colorize(ramp, clip_percent=wrong)


def test_colorize_paints_near_warm():
    far, near = d.colorize(np.array([[0.0, 1.0]], np.float32), "spectral")[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((2, 3, 1), np.float32), r"shape \(2, 3, 1\)"),
        (np.zeros((0, 3), np.float32), "shape"),
        (np.zeros((2, 3), np.uint8), "dtype uint8"),
        (np.full((2, 3), np.nan, np.float32), "NaN"),
        (np.full((2, 3), np.inf, np.float32), "infinite"),
        (np.full((2, 3), 1.5, np.float32), r"\[1.5, 1.5\]"),
        (np.full((2, 3), -0.1, np.float32), r"allowed is \[0, 1\]"),
    ],
)
def test_bad_maps_are_named(bad, words):
    for function in (d.check_disparity, d.disparity_to_depth, d.colorize, d.to_uint16):
        with pytest.raises(ValueError, match=f"^disparity: .*{words}"):
            function(bad)


@pytest.mark.parametrize("ratio", [1.0, 0.5, -3.0, float("nan"), float("inf")])
def test_bad_ratio_is_named(ratio):
    with pytest.raises(ValueError, match="far_over_near: got"):
        d.disparity_to_depth(np.zeros((2, 2), np.float32), ratio)


def test_bad_options_are_named():
    flat = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="colormap: got 'jet'"):
        d.colorize(flat, "jet")
    with pytest.raises(ValueError, match="clip_percent: got 50"):
        d.normalise_disparity(flat, 50)
    with pytest.raises(ValueError, match="values: got NaN"):
        d.normalise_disparity(np.array([[0, np.nan]]))
    with pytest.raises(ValueError, match="levels: got float32"):
        d.from_uint16(flat)
