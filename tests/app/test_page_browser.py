"""The whole page in a real browser: `python app.py` on the embedded model, every tab, Stop, nothing from outside."""

from __future__ import annotations

import io
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from jointdit_core.results import Settings, write_rgb_png

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
EXAMPLES = list((ROOT / "assets" / "examples").glob("*/settings.json"))
START_S, RUN_MS = 120, 60_000


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a started studio; it is ended by its own process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as output:
        command = [sys.executable, "app.py", "--port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).read()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield url
        server.terminate()
        server.wait(15)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        one = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(browser, address):
    """An open page of 1366 x 768; whatever it asks for outside or complains about fails the test."""
    one = browser.new_page(viewport={"width": 1366, "height": 768})
    requests = []
    complaints = one.complaints = []
    one.on("request", lambda request: requests.append(request.url))
    one.on("pageerror", lambda error: complaints.append(str(error)))
    one.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    one.set_default_timeout(RUN_MS)
    one.goto(address)
    opened = "[data-drawn]" if EXAMPLES else ""  # with examples, the first one is shown ready
    expect(one.locator(f"#viewer .js-plotly-plot{opened}")).to_be_visible(timeout=RUN_MS)
    yield one
    one.close()
    outside = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    refusals = "status of 422"  # how Gradio sends what is shown beside a control
    assert outside == [] and [complaint for complaint in complaints if refusals not in complaint] == []


def revisit(page: Page, address: str) -> None:
    """Open another address in an open page."""
    page.goto(address)
    expect(page.locator("#viewer .js-plotly-plot")).to_be_visible(timeout=RUN_MS)
    page.complaints.clear()  # of the page that was left, whose connection was cut


def drawn(page: Page) -> int:
    """How often the 3D view was drawn."""
    return int(page.locator("#viewer .js-plotly-plot").get_attribute("data-drawn") or 0)


def run(page: Page, button: str) -> None:
    """Press a run's button and wait for its result, 3D view included."""
    before = drawn(page)
    page.get_by_role("button", name=button).click()
    await_drawing(page, before)
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile(r"^Done in"))


def await_drawing(page: Page, before: int) -> None:
    """Wait until the 3D view was drawn more than `before` times."""
    count = "Number(document.querySelector('#viewer .js-plotly-plot').dataset.drawn || 0)"
    page.wait_for_function(f"before => {count} > before", arg=before)


def picture(page: Page, name: str) -> np.ndarray:
    """The pixels of a panel's picture, as the server sent it."""
    source = page.locator(f"#{name} img").get_attribute("src")
    with Image.open(io.BytesIO(page.request.get(source).body())) as image:
        return np.asarray(image.convert("RGB"))


def scene(page: Page) -> np.ndarray:
    """The pixels of the 3D canvas, the label left out."""
    page.mouse.move(5, 5)
    page.wait_for_timeout(700)
    shot = page.locator("#viewer").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))[30:-4, 4:-4]


def test_all_three_tabs_one_after_the_other(page):
    page.locator("#prompt textarea").fill("a red ball on a wooden table")
    run(page, "Generate RGB + depth")
    rgb, depth = picture(page, "rgb"), picture(page, "depth")
    assert rgb.shape == depth.shape == (256, 256, 3) and rgb.std() > 5 and depth.std() > 5
    expect(page.locator("#caption")).to_contain_text("a red ball on a wooden table")
    canvas = scene(page)
    colors = len(np.unique(canvas.reshape(-1, 3) // 8, axis=0))
    background = np.all(canvas == canvas[0, 0], axis=-1).mean()
    assert colors > 30 and background < 0.5
    # The first 3D view is the photo's own: the canvas shows what the picture shows.
    shown = np.asarray(Image.fromarray(canvas).resize((16, 16), Image.Resampling.BOX), float)
    photo = np.asarray(Image.fromarray(rgb).crop((4, 26, 252, 252)).resize((16, 16), Image.Resampling.BOX), float)
    assert np.median(np.abs(shown - photo)) < 25

    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compared img").first).to_be_visible()
    expect(page.locator("#rgb")).not_to_be_visible()
    page.get_by_role("button", name="RGB alone").click()
    expect(page.locator("#rgb img")).to_be_visible()
    expect(page.locator("#compared")).not_to_be_visible()

    page.get_by_role("button", name="Use this image").click()
    expect(page.get_by_role("tab", name="Image → depth")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel").locator("img:visible").first).to_be_visible()
    run(page, "Estimate depth")
    np.testing.assert_array_equal(picture(page, "rgb"), rgb)
    assert picture(page, "depth").shape == (256, 256, 3)

    page.get_by_role("button", name="Use this depth").click()
    expect(page.get_by_role("tab", name="Depth → image")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#as-read img")).to_be_visible()
    page.locator("textarea:visible").fill("a blue ball")
    run(page, "Generate image")
    assert picture(page, "rgb").shape == (256, 256, 3) and not np.array_equal(picture(page, "rgb"), rgb)
    with page.expect_download() as download:
        page.get_by_text("All · ZIP").click()
    assert download.value.suggested_filename.endswith("all.zip")

    page.locator(".settings:visible > button").click()
    start = page.locator("#square-depth circle").first
    assert start.get_attribute("cy") == "100"  # the depth is kept exactly
    loose = page.get_by_role("tabpanel").get_by_label("number input for Looseness").locator("visible=true")
    page.wait_for_timeout(500)
    loose.fill("0.5")
    loose.press("Tab")
    expect(start).to_have_attribute("cy", "50")
    kept = picture(page, "depth")
    run(page, "Generate image")
    assert not np.array_equal(picture(page, "depth"), kept)
    expect(page.locator("#caption")).to_contain_text("looseness")


def test_a_picture_that_is_dropped_back_restores_its_settings(page, tmp_path):
    asked = Settings("joint_generation", "a purple vase", 77, 33, 2.5, "mini")
    write_rgb_png(tmp_path / "made.png", np.full((64, 64, 3), 90, np.uint8), asked)
    page.get_by_role("tab", name="Image → depth").click()
    page.locator("input[type=file]:visible, [role=tabpanel]:visible input[type=file]").first.set_input_files(
        tmp_path / "made.png"
    )
    expect(page.get_by_text("This picture was made here")).to_be_visible()
    page.get_by_role("tab", name="Text → RGB + depth").click()
    expect(page.locator("#prompt textarea")).to_have_value("a purple vase")
    page.locator(".settings:visible > button").click()
    for label, value in (("Steps", "33"), ("Guidance", "2.5")):
        number = page.get_by_role("tabpanel").get_by_label(f"number input for {label}").locator("visible=true")
        expect(number).to_have_value(value)
    expect(page.get_by_label("Seed", exact=True).locator("visible=true")).to_have_value("77")
    expect(page.get_by_label("New seed each run").locator("visible=true")).not_to_be_checked()


def test_links_and_earlier_runs_restore_settings(page, browser, address):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("Draft").first.click()
    page.locator("#prompt textarea").fill("a pink cake")
    run(page, "Generate RGB + depth")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(address)

    revisit(page, link)
    expect(page.locator("#prompt textarea")).to_have_value("a pink cake")
    revisit(page, address)
    expect(page.locator("#prompt textarea")).not_to_have_value("a pink cake")
    page.locator("#earlier input").click()
    page.get_by_role("option", name=re.compile("a pink cake")).click()
    expect(page.locator("#prompt textarea")).to_have_value("a pink cake")


def test_variants_in_another_size_are_chosen_between(page):
    page.get_by_text("Draft").first.click()
    page.locator("#prompt textarea").fill("a red ball on a table")
    page.locator(".settings:visible > button").click()
    page.wait_for_timeout(500)
    page.get_by_label("Size").locator("visible=true").click()
    page.get_by_role("option", name="Wide · 320 × 192").click()
    variants = page.get_by_role("tabpanel").get_by_label("number input for Variants").locator("visible=true")
    variants.fill("2")
    variants.press("Tab")
    page.get_by_role("button", name="Generate RGB + depth").click()
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile("^Variant 2 of 2 · Done in"), timeout=RUN_MS)
    second = picture(page, "rgb")
    assert second.shape == (192, 320, 3)
    for part in ("#variants", "#stop"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] < page.locator("#rgb").bounding_box()["y"], part
    before = drawn(page)
    page.locator("#variants").get_by_text("1", exact=True).click()
    await_drawing(page, before)
    assert picture(page, "rgb").shape == (192, 320, 3) and not np.array_equal(picture(page, "rgb"), second)


@pytest.mark.parametrize(("width", "height", "look"), [(1366, 768, "light"), (1366, 768, "dark"), (390, 844, "light")])
def test_axe_finds_nothing_serious(page, address, width, height, look):
    page.set_viewport_size({"width": width, "height": height})
    revisit(page, f"{address}?__theme={look}")
    for number, tab in enumerate(("Text → RGB + depth", "Image → depth", "Depth → image")):
        page.get_by_role("tab", name=tab).click()
        page.locator(".settings:visible > button").click()
        if number == 0:
            page.get_by_text("Draft").first.click()
            page.locator("#prompt textarea").fill("a green tree")
            run(page, "Generate RGB + depth")
            expect(page.get_by_role("button", name="RGB · PNG")).to_be_enabled()
        page.wait_for_timeout(1000)  # colours fade in
        found = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []


def test_lift_controls_redraw_without_inference_and_keep_the_camera(page):
    page.get_by_text("Draft").first.click()
    page.locator("#prompt textarea").fill("a green tree")
    run(page, "Generate RGB + depth")
    camera = """() => JSON.stringify(
        document.querySelector('#viewer .js-plotly-plot')._fullLayout.scene._scene.getCamera().eye)"""
    home = page.evaluate(camera)
    box = page.locator("#viewer").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.wait_for_timeout(300)
    page.mouse.down()
    page.mouse.move(box["x"] + 190, box["y"] + 160, steps=4)
    page.mouse.up()
    page.wait_for_timeout(700)
    turned = page.evaluate(camera)
    assert turned != home
    before = drawn(page)
    page.locator("#lift input[type=range]").nth(1).fill("4")
    await_drawing(page, before)
    kept = page.evaluate(camera)
    near = re.findall(r"-?[\d.]+(?:e-?\d+)?", kept), re.findall(r"-?[\d.]+(?:e-?\d+)?", turned)
    np.testing.assert_allclose(*(np.array(one, float) for one in near), atol=1e-6)
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile(r"^Done"))
    page.get_by_role("button", name="Reset view").click()
    page.wait_for_timeout(700)
    assert page.evaluate(camera) == home
    before, source = picture(page, "depth"), page.locator("#depth img").get_attribute("src")
    page.locator("#lift input[type=range]").nth(4).fill("10")  # clips the colours
    expect(page.locator("#depth img")).not_to_have_attribute("src", source)
    assert len(np.unique(picture(page, "depth").reshape(-1, 3), axis=0)) > 50
    assert not np.array_equal(picture(page, "depth"), before)
    expect(page.get_by_role("button", name="RGB · PNG")).to_be_enabled()


def test_many_pictures_give_one_archive(page, tmp_path):
    for number in range(2):
        Image.new("RGB", (64, 48), (120 * number, 60, 60)).save(tmp_path / f"p{number}.png")
    page.get_by_role("tab", name="Image → depth").click()
    page.get_by_text("Draft").locator("visible=true").click()
    page.get_by_role("button", name="Many pictures").click()
    page.get_by_role("button", name="Estimate all").click()
    expect(page.locator("#many-files").get_by_text("Please choose some pictures first.")).to_be_visible()
    page.locator("#many-files input[type=file]").set_input_files([tmp_path / "p0.png", tmp_path / "p1.png"])
    expect(page.locator("#many-files").get_by_text("p1")).to_be_visible()
    page.get_by_role("button", name="Estimate all").click()
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile("^2 of 2 pictures done"), timeout=RUN_MS)
    with page.expect_download() as download:
        page.get_by_role("button", name="All depth maps").click()
    assert download.value.suggested_filename == "jointdit-depth.zip"


def test_stop_leaves_the_last_preview(page):
    page.locator("#prompt textarea").fill("a red ball on a table")
    page.locator(".settings:visible > button").click()
    steps = page.get_by_role("tabpanel").get_by_label("number input for Steps").locator("visible=true")
    page.wait_for_timeout(500)  # controls that are just being mounted still set their own values
    steps.fill("100")
    steps.press("Tab")
    expect(page.get_by_role("radio", name="Standard").locator("visible=true")).not_to_be_checked()
    expect(steps).to_have_value("100")
    page.get_by_role("button", name="Generate RGB + depth").click()
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile(r"^Step \d+ of 100 · about"))
    page.locator("#stop").click()
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile(r"^Stopped after step \d+ of 100"))
    assert picture(page, "rgb").shape == picture(page, "depth").shape == (256, 256, 3)
    expect(page.locator("#caption")).to_contain_text("stopped after step")
    expect(page.locator("#stop")).to_be_disabled()


def test_a_refusal_is_a_sentence_beside_the_page_and_nothing_is_lost(page):
    page.locator("#prompt textarea").fill("   ")
    page.get_by_role("button", name="Generate RGB + depth").click()
    expect(page.locator("#prompt").get_by_text("Please type a prompt first.")).to_be_visible()
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#runbar [role=status]")).not_to_have_text(re.compile("Waiting"))
    page.get_by_role("tab", name="Image → depth").click()
    page.get_by_role("button", name="Estimate depth").click()
    expect(page.get_by_text("Please choose a picture first.")).to_be_visible()


@pytest.mark.skipif(not EXAMPLES, reason="python -m app.examples has not been run")
def test_an_example_opens_ready_and_restores_its_settings(page):
    thumbs = page.locator("#gallery .thumbnail-item")
    number = thumbs.count() - 1
    before = drawn(page)
    thumbs.nth(number).click()
    expect(page.locator("#runbar [role=status]")).to_have_text(re.compile(r"^A ready example"))
    await_drawing(page, before)
    title = thumbs.nth(number).locator(".caption-label").text_content()
    expect(page.locator("#caption")).to_contain_text(title)
    assert picture(page, "rgb").std() > 5


def test_the_main_job_fits_a_small_laptop_and_a_phone(browser, address, page):
    for selector in ("#prompt", "#rgb", "#depth", "#viewer", "#lift", "#downloads"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 1366 and box["y"] + box["height"] <= 768, selector
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(address)
    expect(phone.locator("#viewer .js-plotly-plot")).to_be_visible(timeout=RUN_MS)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("#prompt", "#rgb", "#depth", "#viewer", "#stop", "#downloads"):
        box = phone.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, selector
    phone.close()


def test_programs_reach_the_three_tasks_as_the_readme_says(address, tmp_path):
    client = Client(address, download_files=str(tmp_path), verbose=False)
    names = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    assert names == {"/joint_generation", "/depth_estimation", "/depth_to_image"}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "gradio_client" in block]
    known = {}
    exec(program.replace("http://127.0.0.1:7860", address), known)
    rgb, depth, archive, settings = (known[name] for name in ("rgb", "depth", "archive", "settings"))
    with Image.open(rgb) as image, Image.open(depth) as levels:
        assert image.size == levels.size == (256, 256) and levels.mode.startswith("I")
        assert image.text["seed"] == "7" and settings["task"] == "depth_estimation"
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
    *_, made = client.predict("a snowy hut", handle_file(depth), seed=7, steps=2, api_name="/depth_to_image")
    assert made["prompt"] == "a snowy hut"


def test_missing_weights_are_named_and_end_the_start(tmp_path):
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "jointdit_core", tmp_path / "jointdit_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", tmp_path)
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 1
    assert "model_index.json is missing" in done.stderr and "Traceback" not in done.stderr
