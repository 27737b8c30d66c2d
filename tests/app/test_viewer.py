"""The 3D figure: compact arrays, faithful colours, the photo's own view."""

from __future__ import annotations

import base64
import dataclasses
import json

import numpy as np
import pytest

from app import viewer
from app.viewer import SCALE, empty, figure, quantize, surface
from jointdit_core import lift
from jointdit_core.geometry.lift import project
from jointdit_core.results import LiftSettings, Result, Settings


@pytest.fixture(scope="module")
def result():
    y, x = np.mgrid[0:48, 0:64]
    image = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    return Result(image, (y / 47).astype(np.float32), Settings("lift", "", 0, 0, None, ""))


@pytest.fixture(scope="module")
def cloud(result):
    return result.lift(LiftSettings(fov_deg=70, edge_threshold=None))


def decoded(spec):
    values = np.frombuffer(base64.b64decode(spec["bdata"]), spec["dtype"])
    return values.reshape([int(side) for side in spec["shape"].split(", ")])


def test_arrays_are_typed_and_small(cloud, result):
    trace = json.loads(figure(cloud, result))["data"][0]
    kinds = {name: trace[name]["dtype"] for name in ("x", "y", "z", "customdata")}
    assert kinds == {"x": "f4", "y": "f4", "z": "f4", "customdata": "u2"}
    assert trace["marker"]["color"]["dtype"] == "u2" and len(trace["marker"]["colorscale"]) == 4096
    assert trace["marker"]["symbol"] == "square"


def test_axes_are_right_forward_up_and_hover_knows_the_pixel(cloud, result):
    trace = json.loads(figure(cloud, result))["data"][0]
    drawn = np.stack([decoded(trace[name]) for name in "xyz"], axis=-1)
    np.testing.assert_array_equal(drawn, cloud.points[:, [0, 2, 1]] * [1, 1, -1])
    np.testing.assert_array_equal(decoded(trace["customdata"]), cloud.pixel)
    assert "relative, not metres" in trace["hovertemplate"]


def test_first_view_is_the_photos_own(cloud, result):
    layout = json.loads(figure(cloud, result))["layout"]
    camera, scene = layout["scene"]["camera"], layout["scene"]
    assert set(camera["eye"].values()) == {0.0}
    assert camera["center"]["x"] == camera["center"]["z"] == 0 < camera["center"]["y"]
    assert layout["meta"]["fov_deg"] == pytest.approx(70) and layout["meta"]["aspect"] == pytest.approx(64 / 48)
    # The page's scale is the same on all axes and about the camera, so a pinhole at the eye sees the photo.
    for axis, ratio in zip(("xaxis", "yaxis", "zaxis"), scene["aspectratio"].values(), strict=True):
        low, high = scene[axis]["range"]
        assert low == -high and high > np.abs(cloud.points).max()
        assert ratio / (high - low) == pytest.approx(SCALE)
    np.testing.assert_allclose(project(cloud.points * SCALE, cloud.intrinsics), cloud.pixel + 0.5, atol=1e-3)


def test_the_view_is_the_same_world_whatever_the_lift(cloud, result):
    disparity = np.linspace(0, 0.01, 48 * 64, dtype=np.float32).reshape(48, 64)
    far = lift(np.zeros((48, 64, 3), np.uint8), disparity, far_over_near=40)
    ratios = []
    for one in (cloud, far):
        scene = json.loads(figure(one, result))["layout"]["scene"]
        low, high = scene["xaxis"]["range"]
        ratios.append(scene["aspectratio"]["x"] / (high - low))
    assert ratios[0] == pytest.approx(ratios[1])


@pytest.mark.parametrize("most", [None, 100])
def test_a_surface_travels_as_a_grid_that_holds_all_of_it(result, most):
    disparity = result.disparity.copy()
    disparity[10:30, 20:40] = 1  # a step, along which cells lose one triangle or both
    stepped = dataclasses.replace(result, disparity=disparity)
    mesh = stepped.lift_mesh(LiftSettings(max_points=most))
    grid = json.loads(surface(mesh, stepped))["grid"]
    read = {name: base64.b64decode(grid[name]) for name in ("cells", "depth", "colors")}
    columns, rows = np.array(grid["columns"]), np.array(grid["rows"])
    cells = np.frombuffer(read["cells"], np.uint8).reshape(len(rows) - 1, len(columns) - 1)
    assert len(set(cells.ravel())) > 3
    a, b, c, d = (0, 0), (0, 1), (1, 0), (1, 1)  # a cell's corners
    there = {
        frozenset((rows[top + down], columns[left + across]) for down, across in corners)
        for bit, corners in enumerate(((a, b, c), (a, b, d), (a, c, d), (b, c, d)))
        for top, left in np.argwhere(cells >> bit & 1)
    }
    x, y = project(mesh.vertices, mesh.intrinsics).round(2).T.astype(int)  # cut to the pixel
    assert there == {frozenset((y[corner], x[corner]) for corner in face) for face in mesh.faces}
    np.testing.assert_array_equal(np.frombuffer(read["depth"], np.float32), mesh.vertices[:, 2])
    np.testing.assert_array_equal(np.frombuffer(read["colors"], np.uint8), mesh.colors.ravel())


def test_palette_keeps_colours():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:128, 0:128] / 127
    photo = np.stack([x, y, (x + y) / 2], axis=-1) * 255 + rng.normal(0, 4, (128, 128, 3))
    colors = np.clip(photo, 0, 255).astype(np.uint8).reshape(-1, 3)
    index, palette = quantize(colors)
    assert index.dtype == np.uint16 and palette.shape == (4096, 3)
    error = np.mean((palette[index].astype(float) - colors) ** 2)
    assert 10 * np.log10(255**2 / error) > 33


def test_colours_are_the_pictures_whether_it_is_quantised_whole_or_not(cloud, result, monkeypatch):
    for most in (viewer.MOST_PAINTED, 0):
        monkeypatch.setattr(viewer, "MOST_PAINTED", most)
        marker = json.loads(figure(cloud, result))["data"][0]["marker"]
        palette = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for _, colour in marker["colorscale"]])
        assert np.abs(palette[decoded(marker["color"])] - cloud.colors.astype(int)).mean() < 2


def test_palette_of_one_colour_is_exact():
    colors = np.full((10, 3), (1, 2, 3), np.uint8)
    index, palette = quantize(colors)
    np.testing.assert_array_equal(palette[index], colors)


def test_empty_figure_sets_the_quick_pixel_ratio():
    assert json.loads(empty().plot)["config"]["plotGlPixelRatio"] == 1
