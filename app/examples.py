"""Ready results for the gallery, and the command that makes them: `python -m app.examples`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from app.results import Result, Settings, write_rgb_png
from jointdit_core.geometry.disparity import colorize, from_uint16
from jointdit_core.geometry.export import write_png16

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
THUMB = 160  # side of each half of a thumbnail in pixels


@dataclass(frozen=True)
class Example:
    """A folder with `rgb.png`, `depth16.png`, `thumb.png` and `settings.json`."""

    folder: Path

    @cached_property
    def settings(self) -> Settings:
        """What made it."""
        return Settings(**json.loads((self.folder / "settings.json").read_text(encoding="utf-8")))

    @property
    def thumb(self) -> Path:
        """Picture and depth side by side."""
        return self.folder / "thumb.png"

    @property
    def rgb(self) -> Path:
        """The picture; for depth estimation also the input."""
        return self.folder / "rgb.png"

    @property
    def depth(self) -> Path:
        """The 16-bit disparity, near = 65535; for depth to image also the input."""
        return self.folder / "depth16.png"

    def result(self) -> Result:
        """Read the ready result."""
        with Image.open(self.rgb) as picture, Image.open(self.depth) as levels:
            return Result(
                np.asarray(picture.convert("RGB")), from_uint16(np.asarray(levels, np.uint16)), self.settings
            )


def find_examples(folder: Path = FOLDER) -> list[Example]:
    """Return the ready examples in the order of their folders' names; none if they were not made."""
    return [Example(path.parent) for path in sorted(folder.glob("*/settings.json"))]


def write_example(folder: Path, result: Result) -> Example:
    """Write a result as an example."""
    folder.mkdir(parents=True, exist_ok=True)
    example = Example(folder)
    write_rgb_png(example.rgb, result.image, result.settings)
    write_png16(example.depth, result.disparity)
    halves = [Image.fromarray(half).resize((THUMB, THUMB)) for half in (result.image, colorize(result.disparity))]
    thumb = Image.new("RGB", (2 * THUMB, THUMB))
    for number, half in enumerate(halves):
        thumb.paste(half, (number * THUMB, 0))
    thumb.save(example.thumb, optimize=True)
    text = json.dumps(asdict(result.settings), indent=2, ensure_ascii=False)
    (folder / "settings.json").write_text(text + "\n", encoding="utf-8")
    return example
