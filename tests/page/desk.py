"""The page in a real browser, and what a visitor does on it: for the tests here, `times` and `pictures`."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, expect, sync_playwright

from jointdit_core.presets import PRESETS
from jointdit_core.results import Settings
from tests.trust.studio import FREE, Server

# Software WebGL, no other machine, and a camera that films a test pattern and needs nobody's consent.
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
LAPTOP, PHONE = (1366, 768), (390, 844)
TEXT, IMAGE, DEPTH = "Text → RGB + depth", "Image → depth", "Depth → image"  # the tabs
MAKE = {TEXT: "Generate RGB + depth", IMAGE: "Estimate depth", DEPTH: "Generate image"}  # their buttons
USUAL = PRESETS["mini"].tasks["joint_generation"]  # what the page runs with unless told otherwise
PATIENCE_MS = 30_000
REFUSED = "status of 422"  # how Gradio sends what is shown beside a control, which the browser notes as an error


@contextlib.contextmanager
def served(*flags: str) -> Iterator[Server]:
    """A studio of its own, whose log must not hold a traceback at the end."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), FREE, *flags) as server:
        yield server
        server.stop()
        assert "Traceback" not in (log := server.log.read_text()), log


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """A Chromium that is on the PATH."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        one = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield one
        one.close()


def private(browser: Browser, size: tuple[int, int] = LAPTOP) -> BrowserContext:
    """A visitor's own corner of the browser, with an empty cache."""
    viewport = {"width": size[0], "height": size[1]}
    return browser.new_context(viewport=viewport, permissions=["clipboard-read", "clipboard-write", "camera"])


def link(prompt: str = "a red ball", seed: int = 7, steps: int = 8) -> str:
    """What follows the address to open the page with settings of its first tab."""
    return f"?settings={quote(Settings('joint_generation', prompt, seed, steps, USUAL.guidance_scale, 'mini').text())}"


def settings_in(query: str) -> Settings | None:
    """Return the settings of a link."""
    return Settings.parse(parse_qs(query[1:]).get("settings", [""])[0])


# Asks for the settings' file as soon as it is offered once the result is another, or a hand has come from a lift
# control, and notes which result is shown then.
EAGER = """() => {
  const shown = () => document.querySelector('#caption [data-link]').dataset.link, before = shown();
  let moved = false;
  const move = () => setTimeout(() => { moved = true; }, 100);
  document.querySelector('#lift').addEventListener('input', move, { once: true });
  const look = () => {
    const file = document.querySelector('#file-settings');
    if (file.disabled || !(moved || shown() !== before)) return setTimeout(look);
    window.taken = shown();
    file.click();
  };
  look();
}"""


class Desk:
    """An open page."""

    def __init__(self, context: BrowserContext, address: str, query: str = "") -> None:
        self.address, self.page = address, context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.visit(query)

    def _hear(self, message) -> None:
        warned = "WebGL" in message.text  # lost contexts are only warned of
        if (message.type == "error" or warned) and REFUSED not in message.text:
            self.complaints.append(message.text)

    def visit(self, query: str = "") -> None:
        """Open the page, perhaps anew; with the first example it is drawn once."""
        self.page.goto(self.address + "/" + query)
        expect(self.page.locator("#viewer .js-plotly-plot[data-drawn]")).to_be_visible()
        if asked := settings_in(query):
            expect(self.prompt).to_have_value(asked.prompt)
        self.complaints.clear()  # of the page that was left, whose connection was cut

    def close(self) -> None:
        """Close the page; nothing was asked of another machine, and nothing went wrong unheard."""
        self.page.close()
        outside = [url for url in self.asked if not url.startswith((self.address, "data:", "blob:"))]
        assert outside == [] and self.complaints == []

    # What is there.

    def __call__(self, selector: str) -> Locator:
        """What the selector finds."""
        return self.page.locator(selector)

    @property
    def status(self) -> Locator:
        """The run bar's sentence."""
        return self("#runbar [role=status]")

    @property
    def prompt(self) -> Locator:
        """The open tab's prompt."""
        return self("#controls textarea:visible")

    def control(self, label: str) -> Locator:
        """The number of the open tab's slider, or a field by its label."""
        slider = self.page.get_by_label(f"number input for {label}").locator("visible=true")
        field = self.page.get_by_label(label, exact=True).locator("visible=true")
        return slider.or_(field).first

    def button(self, name: str) -> Locator:
        """A button by its name."""
        return self.page.get_by_role("button", name=name)

    def picture(self, name: str) -> np.ndarray:
        """The pixels of a panel's picture, as the server sent it: "rgb", "depth", "as-read"."""
        source = self(f"#{name} img").first.get_attribute("src")
        with Image.open(io.BytesIO(self.page.request.get(source).body())) as image:
            return np.asarray(image.convert("RGB"))

    def canvas(self) -> np.ndarray:
        """The pixels of the 3D canvas, the label left out."""
        self.page.mouse.move(5, 5)
        self.page.wait_for_timeout(300)  # until a label that hovers is gone
        shot = Image.open(io.BytesIO(self("#viewer").screenshot()))
        return np.asarray(shot.convert("RGB"))[30:-4, 4:-4]

    def eye(self) -> np.ndarray:
        """Where the 3D view's camera is."""
        eye = self.page.evaluate(
            "() => document.querySelector('#viewer .js-plotly-plot')._fullLayout.scene._scene.getCamera().eye"
        )
        return np.array([eye[axis] for axis in "xyz"])

    @property
    def drawn(self) -> int:
        """How often the 3D view was drawn."""
        return int(self("#viewer .js-plotly-plot").get_attribute("data-drawn") or 0)

    # What is done.

    def open(self, tab: str, settings: bool = False) -> None:
        """Open a tab, and its settings if asked."""
        self.page.get_by_role("tab", name=tab).click()
        if settings and not self("#controls .settings:visible input[type=number]").first.is_visible():
            self("#controls .settings:visible > button").click()
            self.page.wait_for_timeout(400)  # controls that are just being mounted still set their own values

    def set(self, label: str, value: object) -> None:
        """Type a number of the open tab."""
        field = self.control(label)
        field.fill(str(value))
        field.press("Tab")
        expect(field).to_have_value(str(value))

    @contextlib.contextmanager
    def redrawing(self) -> Iterator[None]:
        """Wait until what is done inside has drawn the 3D view anew."""
        before = self.drawn
        yield
        self.page.wait_for_function(
            "n => Number(document.querySelector('#viewer .js-plotly-plot').dataset.drawn) > n", arg=before
        )

    def run(self, tab: str) -> None:
        """Press a tab's button and wait for the result, 3D view included."""
        with self.redrawing():
            self.button(MAKE[tab]).click()
        expect(self.status).to_have_text(re.compile(r"^(Variant \d of \d · )?Done in"))

    def take_in_haste(self, act: Callable[[], object]) -> dict:
        """Change what is shown and take its settings' file at the first moment; it is of what is shown."""
        self.page.evaluate(EAGER)
        with self.page.expect_download() as download:
            act()
        taken = json.loads(download.value.path().read_bytes())
        shown = settings_in(self.page.evaluate("() => window.taken"))
        assert (taken["prompt"], taken["seed"]) == (shown.prompt, shown.seed)
        return taken

    def coarsen(self) -> None:
        """Show few points from now on, for tests that only wait for the 3D view: software takes long to draw many."""
        with self.redrawing():
            self("#lift input[type=range]").nth(3).fill("4096")

    def drag(self, across: int, down: int) -> None:
        """Turn the 3D view."""
        box = self("#viewer").bounding_box()
        x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"]
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(200)
        self.page.mouse.down()
        self.page.mouse.move(x + across, y + down, steps=4)
        self.page.mouse.up()
        self.page.wait_for_timeout(300)
