"""What follows from a result without the device: camera, colours, the way to the other tabs."""

from __future__ import annotations

import dataclasses
import json

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.shown import SAME
from jointdit_core import reading
from jointdit_core.geometry.disparity import colorize
from tests.app.parts import LOOK, last_of, visitor
from tests.geometry.test_recover import box_room, exact_disparity


def test_use_depth_hands_the_disparity_over(studio, result):
    tab, path, kind, polarity = studio.use_depth(result, visitor())
    assert tab.selected == "depth_to_image"
    np.testing.assert_array_equal(reading.read_depth(path, kind, polarity), result.disparity)


def test_use_image_hands_the_picture_over(studio, result):
    tab, path = studio.use_image(result, visitor())
    assert tab.selected == "depth_estimation"
    np.testing.assert_array_equal(np.asarray(reading.read_image(path).image), result.image)


def test_estimated_camera_of_a_room_sets_the_lift_controls(studio, result):
    depth = box_room(60, 25, 10, 192, 192)
    disparity, ratio = exact_disparity(depth)
    room = dataclasses.replace(result, image=np.zeros((192, 192, 3), np.uint8), disparity=disparity)
    fov_deg, far_over_near = studio.estimate_camera(room)
    assert fov_deg == pytest.approx(60, abs=5) and far_over_near == pytest.approx(ratio, rel=0.15)
    assert 2 * far_over_near % 1 == 0
    studio.view(room, False, fov_deg, far_over_near, *LOOK[2:])


def test_a_field_of_view_from_the_photo_is_kept_by_the_estimate(studio, tmp_path):
    photo, exif = Image.new("RGB", (60, 40)), Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 35  # FocalLengthIn35mmFilm
    photo.save(tmp_path / "photo.jpg", exif=exif)
    estimated = last_of(studio.depth_estimation(str(tmp_path / "photo.jpg"), 1, False, 2, 0, "gray", visitor())).result
    true = 2 * np.degrees(np.arctan(36 / 70))
    assert estimated.fov_deg == pytest.approx(true, abs=0.5)
    disparity, _ = exact_disparity(box_room(80, 25, 10, 192, 192))
    room = dataclasses.replace(estimated, image=np.zeros((192, 192, 3), np.uint8), disparity=disparity)
    assert studio.estimate_camera(room)[0] == round(estimated.fov_deg)
    assert studio.estimate_camera(dataclasses.replace(room, fov_deg=None))[0] == pytest.approx(80, abs=5)


def test_the_lift_takes_the_sliders_whatever_the_photo_says(studio, result):
    photo = dataclasses.replace(result, fov_deg=30.0)
    assert json.loads(studio.view(photo, False, 80.0, *LOOK[1:]))["layout"]["meta"]["fov_deg"] == pytest.approx(80)


def test_a_camera_that_cannot_be_told_leaves_the_controls(studio, result):
    noise = np.random.default_rng(0).random((64, 64), np.float32)
    with pytest.raises(gr.Error, match="too few flat surfaces"):
        studio.estimate_camera(dataclasses.replace(result, disparity=noise))
    with pytest.raises(gr.Error, match="everywhere"):
        studio.estimate_camera(dataclasses.replace(result, disparity=np.full((9, 9), 0.4, np.float32)))
    with pytest.raises(gr.Error, match="press Generate first"):
        studio.estimate_camera(None)


def test_flow_buttons_without_a_result_say_what_to_do(studio):
    for button in (studio.use_image, studio.use_depth):
        with pytest.raises(gr.Error, match="Generate first"):
            button(None, visitor())


def test_an_uploaded_depth_map_is_shown_as_read(studio, tmp_path):
    np.save(tmp_path / "depth.npy", np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1)))
    path = str(tmp_path / "depth.npy")
    near_is_bright = studio.preview_depth(path, reading.RELATIVE, reading.NEAR_IS_BRIGHT)["value"]
    near_is_dark = studio.preview_depth(path, reading.RELATIVE, reading.NEAR_IS_DARK)["value"]
    np.testing.assert_array_equal(near_is_bright, near_is_dark[:, ::-1])
    assert studio.preview_depth(None, reading.RELATIVE, reading.NEAR_IS_BRIGHT)["visible"] is False


def test_compare_swaps_the_picture_for_a_slider_and_back(studio, result):
    comparing, picture, slider, offer = studio.compare(result, "gray_r", False)
    assert comparing and not picture["visible"] and slider["visible"] and offer == "RGB alone"
    image, depth = slider["value"]
    np.testing.assert_array_equal(image, result.image)
    np.testing.assert_array_equal(depth, 255 - studio.pair(result, "gray", True)[1])
    assert studio.pair(result, "gray", False) is SAME
    np.testing.assert_array_equal(
        studio.recolor(result, "gray_r@12.5"), colorize(result.disparity, "gray", invert=True, clip_percent=12.5)
    )
    for foreign in ("gray@99", "gray@x", "jet", "@", "gray@nan"):
        with pytest.raises(gr.Error):
            studio.recolor(result, foreign)
    assert studio.compare(result, "gray", True)[0] is False
    with pytest.raises(gr.Error, match="no picture"):
        studio.compare(None, "gray", False)
