"""Take the README's pictures of the page, after real runs of the embedded model: `python -m tests.page.pictures`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from tests.page.desk import IMAGE, LAPTOP, PHONE, TEXT, USUAL, Desk, browsing, link, private, served
from tests.trust.studio import ROOT

MOST_BYTES = 350_000
PROMPT, SEED = "three yellow balls on a wooden table", 2


def shoot(what: Desk | Locator, path: Path) -> None:
    """Take a picture when everything that fades or hovers has come to rest; colours are thinned out if it is large."""
    page = what.page
    page.mouse.move(2, 2)
    page.evaluate("() => document.activeElement?.blur()")
    page.wait_for_timeout(800)
    (page if isinstance(what, Desk) else what).screenshot(path=path)
    with Image.open(path) as picture:
        colours, picture = 256, picture.convert("RGB")
    picture.save(path, optimize=True)
    while path.stat().st_size > MOST_BYTES:
        picture.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
        colours //= 2


def take(browser: Browser, address: str, folder: Path) -> None:
    """Take all pictures."""
    for name, look, size in (("page", "light", LAPTOP), ("page-dark", "dark", LAPTOP), ("page-phone", "light", PHONE)):
        context = private(browser, size)
        desk = Desk(context, address, f"{link(PROMPT, SEED, USUAL.steps['standard'])}&__theme={look}")
        desk.run(TEXT)
        expect(desk.button("RGB · PNG")).to_be_enabled()
        if name == "page-dark":
            desk.drag(70, 30)
        desk.page.evaluate("() => scrollTo(0, 0)")  # on a phone, the run has brought its results into sight
        shoot(desk, folder / f"{name}.png")
        if name == "page":
            desk.button("Use this image").click()
            expect(desk.page.get_by_role("tab", name=IMAGE)).to_have_attribute("aria-selected", "true")
            desk.open(IMAGE, settings=True)
            desk.page.set_viewport_size({"width": LAPTOP[0], "height": 960})  # settings and their square in one
            desk.set("Looseness", 0.3)
            desk.run(IMAGE)
            desk.drag(-70, 30)
            shoot(desk, folder / "page-loose.png")
        context.close()


def main() -> None:
    """Take the pictures with a server of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "assets", help="folder for the pictures")
    folder = parser.parse_args().out
    with served() as server, browsing() as browser:
        take(browser, server.url, folder)


if __name__ == "__main__":
    main()
