"""Bad input is told in a sentence beside the control it is about, before anything runs, and nothing is lost."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.page.desk import DEPTH, IMAGE, MAKE, TEXT, Desk


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small PNG that says it is a huge one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9)))


COLOURFUL = png(Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)))
HOLES = np.full((32, 32), np.nan, np.float32)


def beside(control: Locator, sentence: str) -> None:
    """The sentence stands in the control's own block, in sight, and on nothing else of it."""
    expect(control.get_by_text(sentence)).to_be_visible()
    told = control.get_by_text(sentence).bounding_box()
    for other in control.locator("[data-testid=block-label], .filename").all():
        box = other.bounding_box()
        assert box["y"] + box["height"] <= told["y"] or told["y"] + told["height"] <= box["y"]


@pytest.fixture(scope="module")
def shared(visitor, server):
    """One page for all, since nothing that is refused is to harm what comes next."""
    one = Desk(visitor, server.url)
    yield one
    one.complaints = [each for each in one.complaints if "Failed to load resource" not in each]
    one.close()


def test_what_is_missing_is_told_where_it_belongs(shared, server):
    desk = shared
    jobs = server.health()["jobs"]
    desk.prompt.fill("   ")
    desk.button(MAKE[TEXT]).click()
    beside(desk("#prompt"), "Please type a prompt first.")
    expect(desk("#stop")).to_be_disabled()
    desk.open(IMAGE)
    desk.button(MAKE[IMAGE]).click()
    beside(desk("#picture"), "Please choose a picture first.")
    desk.button("Many pictures").click()
    desk.button("Estimate all").click()
    beside(desk("#many-files"), "Please choose some pictures first.")
    desk.open(DEPTH)
    desk.button(MAKE[DEPTH]).click()
    beside(desk("#depth-file"), "Please choose a depth map first.")
    assert server.health()["jobs"] == jobs


def test_numbers_out_of_range_are_told_beside_them(shared):
    desk = shared
    desk.open(TEXT, settings=True)
    desk.prompt.fill("a red ball")
    desk.page.get_by_label("New seed each run").locator("visible=true").uncheck()
    desk.control("Seed").fill("")
    desk.control("Seed").press("Tab")
    desk.button(MAKE[TEXT]).click()
    block = desk("#controls .block:visible").filter(has=desk.page.get_by_label("Seed", exact=True)).last
    beside(block, "The seed must be a whole number")
    expect(desk.prompt).not_to_be_empty()


@pytest.mark.parametrize(
    ("tab", "place", "content", "sentence"),
    [
        (IMAGE, "#picture", b"no picture at all", "not a PNG, JPEG or WebP"),
        (IMAGE, "#picture", claiming(30_000, 30_000), "megapixels"),
        (IMAGE, "#picture", COLOURFUL[: len(COLOURFUL) // 2], "damaged or cut short"),
        (DEPTH, "#depth-file", COLOURFUL, "is coloured"),
        (DEPTH, "#depth-file", npy(HOLES), "not numbers (NaN)"),
        (DEPTH, "#depth-file", npy(np.ones((32, 32))), "the same value everywhere"),
    ],
    ids=["no picture", "too many pixels", "cut short", "coloured", "holes", "flat"],
)
def test_a_bad_file_is_told_as_it_comes_and_when_it_is_used(shared, tab, place, content, sentence):
    desk = shared
    desk.open(tab)
    name = "file.npy" if content.startswith(b"\x93NUMPY") else "file.png"
    upload = {"name": name, "mimeType": "image/png" if name.endswith("png") else "", "buffer": content}
    desk(f"{place} input[type=file]").first.set_input_files(upload)
    beside(desk(place), sentence)
    desk.button(MAKE[tab]).click()
    beside(desk(place), sentence)
    desk(place).get_by_label(re.compile("Clear|Remove")).last.click()  # of the file, with which the sentence goes
    expect(desk(place).get_by_text(sentence)).not_to_be_visible()
