"""Ready results for the gallery, and the command that makes them: `python -m app.examples`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from jointdit_core import JointDiTPipeline
from jointdit_core.geometry.disparity import colorize, from_uint16, to_uint16
from jointdit_core.geometry.export import write_png16
from jointdit_core.presets import PRESETS, Preset, Task, load
from jointdit_core.results import Result, Settings, write_rgb_png
from jointdit_core.worlds import batch, render, sample_scene, to_disparity

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
THUMB = 160  # side of each half of a thumbnail in pixels


@dataclass(frozen=True)
class Recipe:
    """How an example is made; `world` is the seed of the procedural scene that is given, where one is."""

    task: Task
    prompt: str
    seed: int
    world: int = 0


RECIPES = (
    Recipe("joint_generation", "three yellow balls on a wooden table", 2),
    Recipe("joint_generation", "a snowman in the snow at night", 2),
    Recipe("depth_estimation", "", 3, world=90_000_013),
    Recipe("joint_generation", "a cartoon of a pink cake on a table", 2),
    Recipe("depth_to_image", "a pencil sketch of a bed in a room", 5, world=90_000_011),
    Recipe("joint_generation", "two green pine trees in the fog", 1),
)


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
            return Result(np.asarray(picture.convert("RGB")), from_uint16(np.asarray(levels, np.uint16)), self.settings)


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


def make(pipe: JointDiTPipeline, preset: Preset, recipe: Recipe) -> Result:
    """Run a recipe on the embedded model, at standard quality."""
    defaults = preset.tasks[recipe.task]
    drawn = render(batch([sample_scene(recipe.world)]), size=preset.default_size, samples=4)
    if recipe.task == "depth_estimation":
        world = (drawn.rgb[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    else:
        world = from_uint16(to_uint16(to_disparity(drawn.depth)[0].numpy()))  # exactly what the file will hold
    guidance = None if recipe.task == "depth_estimation" else defaults.guidance_scale
    size = preset.sizes[0] if recipe.task == "joint_generation" else (None, None)
    how = defaults.steps["standard"], guidance, preset.name, 0.0, None, *size
    settings = Settings(recipe.task, recipe.prompt, recipe.seed, *how)
    output = settings.run(pipe, None if recipe.task == "joint_generation" else world)
    return Result(np.asarray(output.image), output.disparity, settings)


def main() -> None:
    """Make all examples anew with the embedded model."""
    pipe, preset = load(PRESETS["mini"]), PRESETS["mini"]
    for number, recipe in enumerate(RECIPES, 1):
        example = write_example(FOLDER / f"{number:02d}", make(pipe, preset, recipe))
        print(f"{example.folder.name}: {recipe.task}, {recipe.prompt or 'no prompt'}")


if __name__ == "__main__":
    main()
