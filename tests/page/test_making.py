"""Three tabs: what they are given, how they run, what comes of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from app.examples import find_examples
from jointdit_core.geometry.export import write_png16
from tests.page.desk import DEPTH, IMAGE, TEXT, USUAL, Desk, link
from tests.page.times import previews


@pytest.fixture(scope="module")
def shared(visitor, server):
    """One page for the tests that start nothing from what the page shows at first."""
    one = Desk(visitor, server.url)
    one.coarsen()
    yield one
    one.close()


def upload(desk: Desk, path, where: str = "[role=tabpanel]:visible") -> None:
    desk(f"{where} input[type=file]").first.set_input_files(path)


def test_three_tabs_share_one_panel_and_hand_their_results_on(visitor, server):
    desk = Desk(visitor, server.url, link(prompt="a red ball on a wooden table", steps=2))
    desk.coarsen()
    desk.run(TEXT)
    rgb, depth = desk.picture("rgb"), desk.picture("depth")
    assert rgb.shape == depth.shape == (256, 256, 3) and rgb.std() > 5 and depth.std() > 5
    expect(desk("#caption")).to_contain_text("a red ball on a wooden table")

    desk.button("Use this image").click()
    expect(desk.page.get_by_role("tab", name=IMAGE)).to_have_attribute("aria-selected", "true")
    expect(desk("#controls [role=tabpanel]:visible img").first).to_be_visible()
    desk.page.get_by_text("Draft").locator("visible=true").click()
    desk.run(IMAGE)
    np.testing.assert_array_equal(desk.picture("rgb"), rgb)
    assert not np.array_equal(desk.picture("depth"), depth)

    desk.button("Use this depth").click()
    expect(desk.page.get_by_role("tab", name=DEPTH)).to_have_attribute("aria-selected", "true")
    expect(desk("#as-read img")).to_be_visible()
    desk.prompt.fill("a blue ball")
    kept = desk.picture("depth")
    desk.open(DEPTH, settings=True)
    desk.set("Steps", 2)
    desk.run(DEPTH)
    assert not np.array_equal(desk.picture("rgb"), rgb)
    np.testing.assert_allclose(desk.picture("depth").astype(float), kept, atol=32)  # as read: from 0 to 1

    start = desk("#square-depth circle").first
    assert start.get_attribute("cy") == "100"  # the depth is kept exactly
    desk.set("Looseness", 0.5)
    expect(start).to_have_attribute("cy", "50")
    desk.run(DEPTH)
    assert not np.array_equal(desk.picture("depth"), kept)
    expect(desk("#caption")).to_contain_text("looseness")
    desk.close()


def test_a_picture_comes_by_file_camera_and_clipboard_and_keeps_its_size(shared, tmp_path):
    desk = shared
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 24  # FocalLengthIn35mmFilm
    x, y = np.meshgrid(np.arange(150), np.arange(100))
    Image.fromarray(np.stack([x, y, x + y], -1).astype(np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    desk.open(IMAGE)
    upload(desk, tmp_path / "photo.jpg")
    expect(desk.page.get_by_label("number input for Field of view °")).to_have_value("74")
    desk.page.get_by_text("Draft").locator("visible=true").click()
    desk.run(IMAGE)
    assert desk.picture("rgb").shape == desk.picture("depth").shape == (100, 150, 3)

    shown = desk("#controls [role=tabpanel]:visible img").first
    before = shown.get_attribute("src")
    desk.page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
        canvas.getContext('2d').fillRect(0, 0, 40, 30);
        const blob = await new Promise((done) => canvas.toBlob(done));
        await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
    }""")
    desk.page.get_by_label("Paste from clipboard").locator("visible=true").click()
    expect(shown).not_to_have_attribute("src", before)

    desk.page.get_by_label("Remove").or_(desk.page.get_by_label("Clear")).locator("visible=true").first.click()
    desk.page.get_by_label("Capture from camera").locator("visible=true").click()
    desk("#controls").get_by_text("Click to Access Webcam").click()
    desk.page.wait_for_function("[...document.querySelectorAll('#controls video')].some((one) => one.videoWidth > 0)")
    desk("#controls button[aria-label='capture photo']").click()
    expect(shown).to_be_visible()


def test_a_depth_map_is_read_as_told_and_shown_so(shared, tmp_path):
    desk = shared
    ramp = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    desk.open(DEPTH)
    upload(desk, write_png16(tmp_path / "ramp.png", ramp))
    expect(desk("#as-read img")).to_be_visible()
    bright = desk.picture("as-read")[..., 0]
    assert bright.shape == (64, 96) and bright[0, 0] == 0 and bright[0, -1] == 255
    source = desk("#as-read img").get_attribute("src")
    desk.page.get_by_text("Near is dark").click()
    expect(desk("#as-read img")).not_to_have_attribute("src", source)
    np.testing.assert_array_equal(desk.picture("as-read")[..., 0], bright[:, ::-1])

    desk.page.get_by_text("Near is bright").click()
    np.save(tmp_path / "ramp.npy", ramp.T)
    desk("#depth-file").get_by_label("Clear").or_(desk("#depth-file").get_by_label("Remove")).first.click()
    expect(desk("#as-read")).not_to_be_visible()
    upload(desk, tmp_path / "ramp.npy")
    expect(desk("#as-read img")).to_be_visible()
    desk.open(DEPTH, settings=True)
    desk.set("Steps", 1)
    desk.run(DEPTH)
    assert desk.picture("rgb").shape == desk.picture("depth").shape == (96, 64, 3)


def test_a_used_seed_is_shown_and_makes_the_same_again(visitor, server):
    desk = Desk(visitor, server.url, link(seed=7, steps=2))
    desk.coarsen()
    desk.open(TEXT, settings=True)
    desk.run(TEXT)
    first = desk.picture("rgb")
    expect(desk("#caption")).to_contain_text("seed 7")
    desk.page.get_by_label("New seed each run").locator("visible=true").check()
    desk.run(TEXT)
    drawn = desk.control("Seed").input_value()
    assert drawn != "7" and not np.array_equal(desk.picture("rgb"), first)
    expect(desk("#caption")).to_contain_text(f"seed {drawn}")
    desk.page.get_by_label("New seed each run").locator("visible=true").uncheck()
    desk.set("Seed", 7)
    desk.run(TEXT)
    np.testing.assert_array_equal(desk.picture("rgb"), first)
    for quality in ("draft", "fine", "standard"):
        desk.page.get_by_text(quality.capitalize()).locator("visible=true").click()
        expect(desk.control("Steps")).to_have_value(str(USUAL.steps[quality]))
    desk.close()


def test_variants_in_another_size_are_chosen_between(visitor, server):
    desk = Desk(visitor, server.url, link(steps=2))
    desk.coarsen()
    desk.open(TEXT, settings=True)
    desk.page.get_by_label("Size").locator("visible=true").click()
    desk.page.get_by_role("option", name="Wide · 320 × 192").click()
    desk.set("Variants", 2)
    assert desk.take_in_haste(desk.button("Generate RGB + depth").click)["seed"] in (7, 8)
    expect(desk.status).to_have_text(re.compile("^Variant 2 of 2 · Done in"))
    second = desk.picture("rgb")
    assert second.shape == (192, 320, 3)
    for part in ("#variants", "#stop"):
        box = desk(part).bounding_box()
        assert box["y"] + box["height"] < desk("#rgb").bounding_box()["y"], part
    with desk.redrawing():
        assert desk.take_in_haste(desk("#variants").get_by_text("1", exact=True).click)["seed"] == 7
    assert desk.picture("rgb").shape == (192, 320, 3) and not np.array_equal(desk.picture("rgb"), second)
    desk.close()


def test_previews_come_as_it_runs_and_stop_leaves_the_last(desk):
    steps = 12
    came = previews(desk, steps)
    assert min(came.values()) >= steps // 4, "every other step has one, of which a busy browser may skip some"
    desk.set("Steps", 100)
    desk.button("Generate RGB + depth").click()
    expect(desk.status).to_have_text(re.compile(r"^Step \d+ of 100 · about"))
    desk("#stop").click()
    expect(desk.status).to_have_text(re.compile(r"^Stopped after step \d+ of 100"))
    assert desk.picture("rgb").shape == desk.picture("depth").shape == (256, 256, 3)
    expect(desk("#caption")).to_contain_text("stopped after step")
    expect(desk("#stop")).to_be_disabled()


def test_many_pictures_give_one_archive(shared, tmp_path):
    desk = shared
    paths = [tmp_path / "p0.png", tmp_path / "p1.png"]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 48), (120 * number, 60, 60)).save(path)
    desk.open(IMAGE)
    desk.page.get_by_text("Draft").locator("visible=true").click()
    desk.button("Many pictures").click()
    upload(desk, paths, "#many-files")
    expect(desk("#many-files").get_by_text("p1")).to_be_visible()
    desk.button("Estimate all").click()
    expect(desk.status).to_have_text(re.compile("^2 of 2 pictures done"))
    with desk.page.expect_download() as download:
        desk.button("All depth maps").click()
    assert download.value.suggested_filename == "jointdit-depth.zip"


@pytest.mark.parametrize("task", ["joint_generation", "depth_to_image"])
def test_an_example_opens_ready_and_restores_its_settings(shared, server, task):
    desk = shared
    number, example = [(n, one) for n, one in enumerate(find_examples()) if n and one.settings.task == task][0]
    jobs = server.health()["jobs"]
    with desk.redrawing():
        desk("#gallery .thumbnail-item").nth(number).click()
    expect(desk.status).to_have_text(re.compile(r"^A ready example"))
    expect(desk("#caption")).to_contain_text(example.settings.prompt)
    np.testing.assert_array_equal(desk.picture("rgb"), np.asarray(Image.open(example.rgb).convert("RGB")))
    assert server.health()["jobs"] == jobs, "nothing was computed"
    expect(desk.prompt).to_have_value(example.settings.prompt)
    if task == "depth_to_image":
        expect(desk("#as-read img")).to_be_visible()
    desk.open(TEXT if task == "joint_generation" else DEPTH, settings=True)
    expect(desk.control("Seed")).to_have_value(str(example.settings.seed))
    expect(desk.control("Steps")).to_have_value(str(example.settings.steps))
    expect(desk.control("Guidance")).to_have_value(f"{example.settings.guidance:g}")
