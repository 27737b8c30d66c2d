"""What is done with a result, all of it without the model."""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image
from playwright.sync_api import expect

from app.examples import find_examples
from tests.page.desk import Desk

SHOWN = """() => {
  const shown = document.querySelector('#viewer .js-plotly-plot')._fullData[0];
  return Object.fromEntries(['x', 'y', 'z', 'i', 'j', 'k'].map((name) => [name, Array.from(shown[name])]));
}"""


@pytest.fixture(scope="module")
def idle(visitor, server):
    """One page with a ready result for all tests here; what is done with it must not ask the model."""
    jobs, one = server.health()["jobs"], Desk(visitor, server.url)
    yield one
    one.close()
    assert server.health()["jobs"] == jobs


def wait_for_another(desk: Desk, name: str, act) -> None:
    """Wait until what is done has changed a picture."""
    before = desk(f"#{name} img").get_attribute("src")
    act()
    expect(desk(f"#{name} img")).not_to_have_attribute("src", before)


def choose(desk: Desk, colours: str) -> None:
    desk("#colours input").click()
    desk.page.get_by_role("option", name=colours, exact=True).click()


def test_depth_is_coloured_turned_round_clipped_and_compared(idle):
    desk = idle
    wait_for_another(desk, "depth", lambda: choose(desk, "Gray"))
    gray = desk.picture("depth")
    assert np.array_equal(gray[..., 0], gray[..., 1])
    wait_for_another(desk, "depth", lambda: choose(desk, "Gray, reversed"))
    np.testing.assert_allclose(desk.picture("depth").astype(int), 255 - gray.astype(int), atol=1)
    wait_for_another(desk, "depth", lambda: desk("#lift input[type=range]").nth(4).fill("10"))
    clipped = desk.picture("depth")
    assert (clipped == clipped.min()).mean() > 0.08 and (clipped == clipped.max()).mean() > 0.08

    desk.button("Compare").click()
    expect(desk("#compared img").first).to_be_visible()
    expect(desk("#rgb")).not_to_be_visible()
    desk.button("RGB alone").click()
    expect(desk("#rgb img")).to_be_visible()
    expect(desk("#compared")).not_to_be_visible()


def test_the_first_view_is_the_photos_own_and_tells_pixel_and_relative_depth(idle):
    desk = idle
    canvas, rgb = desk.canvas(), desk.picture("rgb")
    shown = np.asarray(Image.fromarray(canvas).resize((16, 16), Image.Resampling.BOX), float)
    photo = np.asarray(Image.fromarray(rgb).crop((4, 26, 252, 252)).resize((16, 16), Image.Resampling.BOX), float)
    assert np.median(np.abs(shown - photo)) < 25
    box = desk("#viewer").bounding_box()
    at = 0.5, 0.85  # of the picture's width and height: the ground before the things
    desk.page.mouse.move(box["x"] + at[0] * box["width"] - 8, box["y"] + at[1] * box["height"])
    desk.page.mouse.move(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"], steps=4)
    told = desk("#viewer .hovertext")
    expect(told).to_contain_text("relative, not metres")
    pixel = re.search(r"pixel \((\d+), (\d+)\).*depth (\d+\.\d+) ×", told.text_content())
    np.testing.assert_allclose([float(part) for part in pixel.groups()[:2]], 256 * np.array(at), atol=8)
    assert 1 <= float(pixel[3]) < 8


def test_every_file_can_be_taken_home(idle):
    desk = idle
    names = {}
    for name in ("rgb", "depth_png", "depth_npy", "depth_exr", "normals", "points", "mesh", "mesh_obj", "camera"):
        names[name] = take(desk, name)
    for name in ("stereo", "anaglyph", "settings", "everything"):
        names[name] = take(desk, name)
    rgb = Image.open(io.BytesIO(names["rgb"][1]))
    assert rgb.size == (256, 256) and json.loads(rgb.text["jointdit"])["prompt"] == rgb.text["prompt"]
    assert Image.open(io.BytesIO(names["depth_png"][1])).mode.startswith("I;16")
    disparity = np.load(io.BytesIO(names["depth_npy"][1]))
    assert disparity.dtype == np.float32 and (disparity.min(), disparity.max()) == (0, 1)
    assert names["depth_exr"][1][:4] == b"\x76\x2f\x31\x01"
    assert len(trimesh.load(io.BytesIO(names["points"][1]), file_type="ply").vertices) > 50_000
    mesh = trimesh.load(io.BytesIO(names["mesh"][1]), file_type="glb", force="mesh", process=False)
    assert len(mesh.faces) > 50_000
    shown = {name: np.array(values) for name, values in desk.page.evaluate(SHOWN).items()}
    np.testing.assert_array_equal(np.stack([shown["x"], shown["z"], -shown["y"]], -1), mesh.vertices)
    np.testing.assert_array_equal(in_order(np.stack([shown[side] for side in "ijk"], -1)), in_order(mesh.faces))
    sizes = [Image.open(io.BytesIO(names[name][1])).size for name in ("normals", "anaglyph", "stereo")]
    assert sizes == [(256, 256), (256, 256), (512, 256)]
    assert json.loads(names["settings"][1])["seed"] == int(rgb.text["seed"]) and json.loads(names["camera"][1])
    with zipfile.ZipFile(io.BytesIO(names["everything"][1])) as archive:
        packed = set(archive.namelist())
    assert {file for name, (file, _) in names.items() if name not in ("everything", "mesh_obj")} <= packed

    desk.button("Make parallax").click()
    expect(desk("#file-parallax")).to_be_visible()
    file, content = take(desk, "parallax")
    assert file.endswith(".webp") and Image.open(io.BytesIO(content)).n_frames > 10


def test_what_is_taken_home_in_haste_is_of_what_is_shown(idle):
    desk, examples = idle, find_examples()
    for number in (2, 1):
        taken = desk.take_in_haste(desk("#gallery .thumbnail-item").nth(number).click)
        assert taken["seed"] == examples[number].settings.seed
    slider = desk("#lift input[type=range]").first
    with desk.redrawing():
        slider.fill("44")
    assert desk.take_in_haste(lambda: slider.fill("45"))["lift"]["fov_deg"] == 45  # the other's are being written
    desk.button("Make parallax").click()
    slider.fill("46")
    expect(desk.button("Make parallax")).to_be_enabled()
    expect(desk("#file-parallax")).not_to_be_visible()  # of 45


def in_order(faces: np.ndarray) -> np.ndarray:
    return faces[np.lexsort(faces.T)]


def take(desk: Desk, name: str) -> tuple[str, bytes]:
    """Press a download button; give the file's name and content."""
    expect(desk(f"#file-{name}")).to_be_enabled()
    with desk.page.expect_download() as download:
        desk(f"#file-{name}").click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_lift_controls_redraw_and_keep_the_camera_until_it_is_reset(idle):
    desk = idle
    home = desk.eye()
    desk.drag(60, 15)
    turned = desk.eye()
    assert np.abs(turned - home).max() > 0.01
    count = "() => document.querySelector('#viewer .js-plotly-plot')._fullData[0].x.length"
    before = desk.page.evaluate(count)
    for slider, value in ((0, 80), (1, 4), (2, 0), (3, 4096)):  # field of view, far / near, edge cut, points
        with desk.redrawing():
            desk("#lift input[type=range]").nth(slider).fill(str(value))
        np.testing.assert_allclose(desk.eye(), turned, atol=1e-6)
    assert desk.page.evaluate(count) <= 4096 < before
    kind = "() => document.querySelector('#viewer .js-plotly-plot')._fullData[0].type"
    assert desk.page.evaluate(kind) == "mesh3d"
    with desk.redrawing():
        desk("#lift").get_by_label("Surface").uncheck()
    np.testing.assert_allclose(desk.eye(), turned, atol=1e-6)
    assert desk.page.evaluate(kind) == "scatter3d"
    assert len(np.unique(desk.canvas().reshape(-1, 3) // 8, axis=0)) > 30, "the points are drawn"
    with desk.redrawing():
        desk("#lift").get_by_label("Surface").check()
    desk.button("Reset view").click()
    desk.page.wait_for_timeout(300)
    np.testing.assert_allclose(desk.eye(), home, atol=1e-6)


def test_twenty_updates_lose_no_webgl_context(idle):
    """Chromium warns on the console when it takes a context away, which the page's fixture would not forgive."""
    desk = idle
    same = "() => { window.kept ??= document.querySelector('#viewer canvas'); return kept.isConnected; }"
    for number in range(20):
        assert desk.page.evaluate(same), "the view is drawn where it was"
        with desk.redrawing():
            desk("#lift input[type=range]").nth(0).fill(str(40 + number))
    gone = "() => document.querySelector('#viewer .js-plotly-plot')._fullLayout.scene._scene.glplot.gl.isContextLost()"
    assert desk.page.evaluate(same) and not desk.page.evaluate(gone)
