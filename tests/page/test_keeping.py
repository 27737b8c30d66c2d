"""Settings that come back; the same tasks for programs and on the command line."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect

from jointdit_core import __main__ as command_line
from jointdit_core.results import Settings, write_rgb_png
from tests.page.desk import IMAGE, TEXT, Desk, link, private
from tests.trust.studio import ROOT


def test_a_picture_that_is_dropped_back_restores_its_settings(desk, tmp_path):
    asked = Settings("joint_generation", "a purple vase", 77, 33, 2.5, "mini")
    write_rgb_png(tmp_path / "made.png", np.full((64, 64, 3), 90, np.uint8), asked)
    desk.open(IMAGE)
    desk("[role=tabpanel]:visible input[type=file]").first.set_input_files(tmp_path / "made.png")
    expect(desk.page.get_by_text("This picture was made here")).to_be_visible()
    desk.open(TEXT, settings=True)
    expect(desk.prompt).to_have_value("a purple vase")
    for label, value in (("Seed", "77"), ("Steps", "33"), ("Guidance", "2.5")):
        expect(desk.control(label)).to_have_value(value)
    expect(desk.page.get_by_label("New seed each run").locator("visible=true")).not_to_be_checked()


def test_links_and_earlier_runs_restore_settings(browser, server):
    context = private(browser)
    desk = Desk(context, server.url, link(prompt="a pink cake", seed=5, steps=2))
    desk.run(TEXT)
    desk.button("Copy link").click()
    expect(desk.button("Link copied")).to_be_visible()
    copied = desk.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(server.url)
    desk.visit()
    expect(desk.prompt).not_to_have_value("a pink cake")
    desk("#earlier input").click()
    desk.page.get_by_role("option", name=re.compile("a pink cake · seed 5")).click()
    expect(desk.prompt).to_have_value("a pink cake")
    desk.visit(copied.removeprefix(server.url + "/"))
    expect(desk.prompt).to_have_value("a pink cake")
    desk.open(TEXT, settings=True)
    expect(desk.control("Seed")).to_have_value("5")
    desk.close()
    context.close()


def test_page_program_and_command_line_make_the_same_bytes(visitor, server, tmp_path):
    desk = Desk(visitor, server.url, link(prompt="a red ball", seed=7, steps=2))
    desk.run(TEXT)
    expect(desk("#file-depth_npy")).to_be_enabled()
    digests = {"page": []}
    for name in ("rgb", "depth_png"):
        with desk.page.expect_download() as download:
            desk(f"#file-{name}").click()
        digests["page"].append(digest(download.value.path()))
    desk.close()
    client = Client(server.url, download_files=str(tmp_path), verbose=False)
    rgb, depth, *_ = client.predict("a red ball", seed=7, steps=2, api_name="/joint_generation")
    digests["program"] = [digest(rgb), digest(depth)]
    words = "generate", "a red ball", "--seed", "7", "--steps", "2", "--out", str(tmp_path / "out")
    assert command_line.main([*words]) == 0
    made = tmp_path / "out"
    digests["command line"] = [digest(next(made.glob(f"*/*{end}"))) for end in ("rgb.png", "depth16.png")]
    assert digests["page"] == digests["program"] == digests["command line"]


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_programs_reach_the_three_tasks_as_the_readme_says(server, tmp_path):
    client = Client(server.url, download_files=str(tmp_path), verbose=False)
    names = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    assert names == {"/joint_generation", "/depth_estimation", "/depth_to_image"}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "gradio_client" in block]
    known = {}
    exec(program.replace("http://127.0.0.1:7860", server.url), known)
    rgb, depth, archive, settings = (known[name] for name in ("rgb", "depth", "archive", "settings"))
    with Image.open(rgb) as image, Image.open(depth) as levels:
        assert image.size == levels.size == (256, 256) and levels.mode.startswith("I")
        assert image.text["seed"] == "7" and settings["task"] == "depth_estimation"
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
    *_, made = client.predict("a snowy hut", handle_file(depth), seed=7, steps=2, api_name="/depth_to_image")
    assert made["prompt"] == "a snowy hut"
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    with pytest.raises(AppError, match="not a PNG, JPEG or WebP"):
        client.predict(handle_file(tmp_path / "broken.png"), seed=7, steps=2, api_name="/depth_estimation")
