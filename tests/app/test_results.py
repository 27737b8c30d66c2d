"""What follows from a result without the device: the view, the files, the animation."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import trimesh
from PIL import Image

from app.shown import SAME, lifting
from jointdit_core.geometry.disparity import from_uint16
from jointdit_core.results import Settings, write_files
from tests.app.parts import LOOK, generate, last_of, visitor


def test_view_and_files_wait_for_a_result(studio):
    assert studio.view(None, False, *LOOK) is SAME
    assert all(part is SAME for part in studio.files(None, *LOOK))


def test_view_follows_the_lift_controls_and_keeps_its_key(studio, result):
    asked = ((55, 65536), (80, 500))
    figures = [json.loads(studio.view(result, False, fov, 8.0, 0.0, most, False, False)) for fov, most in asked]
    metas = [figure["layout"]["meta"] for figure in figures]
    assert metas[0]["key"] == metas[1]["key"] and [round(meta["fov_deg"]) for meta in metas] == [55, 80]
    assert metas[1]["side"] < metas[0]["side"] == 56


def test_a_solid_view_is_a_surface_of_the_same_world(studio, result):
    points, solid = (json.loads(studio.view(result, each, *LOOK)) for each in (False, True))
    assert points["data"][0]["type"] == "scatter3d" and "grid" in solid
    assert points["layout"]["scene"] == solid["layout"]["scene"]
    assert points["data"][0]["y"]["bdata"] == solid["grid"]["depth"]


def test_lift_controls_out_of_range_are_refused_in_a_sentence(studio, result):
    with pytest.raises(gr.Error, match="fov_deg"):
        studio.view(result, False, 500.0, *LOOK[1:])


def test_an_edge_cut_of_zero_keeps_every_point():
    assert lifting(55, 8, 0, 100, False, False).edge_threshold is None
    assert lifting(55, 8, 4, 100, False, False).edge_threshold == pytest.approx(0.04)


def test_files_hold_what_the_page_shows(tmp_path, result):
    files = write_files(dataclasses.replace(result, folder=tmp_path), lifting(*LOOK))
    with Image.open(files.rgb) as picture:
        np.testing.assert_array_equal(np.asarray(picture), result.image)
        assert Settings(**json.loads(picture.text["jointdit"])) == result.settings
        assert picture.text["prompt"] == "a red ball" and picture.text["seed"] == "7"
    with Image.open(files.depth_png) as levels:
        read = from_uint16(np.asarray(levels, np.uint16))
    np.testing.assert_allclose(read, result.disparity, atol=0.5 / 65535)
    np.testing.assert_array_equal(np.load(files.depth_npy), result.disparity)
    assert len(trimesh.load(files.points).vertices) == 40 * 56
    with Image.open(files.stereo) as stereo, Image.open(files.anaglyph) as anaglyph:
        assert (stereo.size, anaglyph.size) == ((112, 40), (56, 40))
    assert len(trimesh.load(files.mesh, force="mesh").faces) > 2000
    settings = json.loads(files.settings.read_text())
    assert settings["seed"] == 7 and settings["lift"]["fov_deg"] == 55
    with zipfile.ZipFile(files.everything) as archive:
        assert archive.namelist() == [path.name for path in files[:-1]]
        assert archive.testzip() is None


def test_the_obj_comes_with_its_material_and_texture(tmp_path, result):
    files = write_files(dataclasses.replace(result, folder=tmp_path / "files"), lifting(*LOOK))
    with zipfile.ZipFile(files.mesh_obj) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".obj", ".mtl", ".png"}
        archive.extractall(tmp_path / "unpacked")
    (path,) = (tmp_path / "unpacked").glob("*.obj")
    read = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_array_equal(np.asarray(read.visual.material.image.convert("RGB")), result.image)
    assert sorted(path.parent.parent.glob("files/*")) == sorted(files)  # no scraps


def test_no_sky_and_smooth_steps_change_what_is_lifted(result):
    rounded = dataclasses.replace(result, disparity=np.rint(result.disparity * 99).astype(np.float32) / 99)
    plain, bare, smooth = (lifting(*LOOK[:-2], *two) for two in ((False, False), (True, False), (False, True)))
    assert len(rounded.lift(bare).points) == len(rounded.lift(plain).points) - 56  # the farthest row is sky
    moved = np.abs(rounded.lift(smooth).points - rounded.lift(plain).points).max(0)
    assert moved[2] > 0 and not np.array_equal(rounded.normals(smooth), rounded.normals(plain))
    assert len(rounded.lift_mesh(bare).vertices) < len(rounded.lift_mesh(plain).vertices)


def test_only_sky_is_refused_in_a_sentence(studio, result, tmp_path):
    sky = dataclasses.replace(result, disparity=np.zeros((40, 56), np.float32), folder=tmp_path)
    for ask, *solid in ((studio.view, False), (studio.view, True), (studio.files,), (studio.parallax,)):
        with pytest.raises(gr.Error, match="only sky"):
            ask(sky, *solid, *LOOK[:4], True, False)


def test_parallax_is_made_when_asked(studio, result, tmp_path):
    with pytest.raises(gr.Error, match="press Generate first"):
        studio.parallax(None, *LOOK)
    with Image.open(studio.parallax(dataclasses.replace(result, folder=tmp_path), *LOOK)) as film:
        # Pictures that are the same as the one before are kept as a longer stay of it.
        assert (film.format, film.size) == ("WEBP", (56, 40)) and 8 < film.n_frames <= 24


def test_parallax_of_a_large_result_is_drawn_smaller(result):
    large = dataclasses.replace(
        result, image=result.image.repeat(20, 0).repeat(20, 1), disparity=result.disparity.repeat(20, 0).repeat(20, 1)
    )
    smaller = large.at_most(512)
    assert smaller.image.shape == (366, 512, 3) and smaller.disparity.shape == (366, 512)
    assert smaller.disparity.dtype == np.float32 and result.at_most(512) is result


def test_a_prompt_in_any_script_survives_in_the_png(tmp_path, result):
    settings = dataclasses.replace(result.settings, prompt="красный шар 红球 🔴")
    files = write_files(dataclasses.replace(result, folder=tmp_path, settings=settings), lifting(*LOOK))
    with Image.open(files.rgb) as picture:
        assert picture.text["prompt"] == settings.prompt


def test_each_visitor_has_a_folder_that_goes_with_them(studio):
    one = last_of(generate(studio, name="one")).result
    two = last_of(generate(studio, name="two")).result
    assert one.folder.parent != two.folder.parent
    studio.leave(visitor("one"))
    assert not one.folder.exists() and two.folder.exists()
    files = studio.files(one, *LOOK)  # a page that is still open gets its files anew
    assert all(Path(file).exists() for file in files)
