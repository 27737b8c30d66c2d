"""The embedded model's tables: three tasks on unseen procedural worlds, with confidence intervals and sample sheets.

Letters: N scenes, B scenes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from ..geometry.disparity import colorize, disparity_to_depth
from ..pipeline import JointDiTPipeline
from ..worlds import batch, captions, render, sample_scene, to_disparity
from ..worlds.scene import STYLES
from .checker import LabelChecker
from .depth_metrics import DepthMetrics, depth_metrics
from .intervals import mean_and_ci
from .obedience import Distances, ObedienceRow, distances, judge, obedience_table

FIRST_SEED = 10  # unseen: training starts at 1,000,000, the autoencoder's scenes at 500,000
SAMPLES = 4  # rays per pixel
SKY = 0.02  # disparity below which a generated map is taken for sky
SHEET_ROWS, SHEET_COLUMNS = 4, 4


@dataclass(frozen=True)
class Worlds:
    """Unseen scenes.

    Attributes:
        images: N RGB pictures.
        depths: N maps (H, W) float32 in metres, infinite in the sky.
        disparities: N maps (H, W) float32 in [0, 1].
        prompts: N captions.
        styles: N of `STYLES`.
    """

    images: list[Image.Image]
    depths: list[np.ndarray]
    disparities: list[np.ndarray]
    prompts: list[str]
    styles: list[str]


@dataclass(frozen=True)
class Row:
    """One line of the table: means over scenes with the half-width of their 95 % confidence interval."""

    task: str
    steps: int
    scenes: int
    abs_rel: float
    abs_rel_ci: float
    delta1: float
    delta1_ci: float


def draw_worlds(count: int, size: int, device: torch.device, batch_size: int = 16) -> Worlds:
    """Draw the evaluation's scenes.

    Args:
        count: N.
        size: Side in pixels.
        device: Where to draw.
        batch_size: Scenes at once.

    Returns:
        The scenes, always the same.
    """
    images, depths, disparities, prompts, styles = [], [], [], [], []
    for first in range(0, count, batch_size):
        seeds = range(FIRST_SEED + first, FIRST_SEED + min(first + batch_size, count))
        scenes = [sample_scene(seed) for seed in seeds]
        with torch.inference_mode():
            drawn = render(batch(scenes).to(device), size, SAMPLES)
            near = to_disparity(drawn.depth)
        pixels = (drawn.rgb.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
        images += [Image.fromarray(p) for p in pixels]
        depths += list(drawn.depth.float().cpu().numpy())
        disparities += list(near.float().cpu().numpy())
        prompts += [captions(scene, 1)[0] for scene in scenes]
        styles += [scene.style for scene in scenes]
    return Worlds(images, depths, disparities, prompts, styles)


def summarise(task: str, steps: int, metrics: list[DepthMetrics]) -> Row:
    """Average the metrics of a task's scenes."""
    abs_rel = mean_and_ci([m.abs_rel for m in metrics])
    delta1 = mean_and_ci([m.delta1 for m in metrics])
    return Row(task, steps, len(metrics), *abs_rel, *delta1)


def estimate(pipe: JointDiTPipeline, images: list[Image.Image], steps: int, batch_size: int) -> list[np.ndarray]:
    """Disparity (H, W) of each image, seeds 0, 1, ..."""
    maps = []
    for i in tqdm(range(0, len(images), batch_size), desc=f"depth, {steps} steps", leave=False):
        part = images[i : i + batch_size]
        maps += pipe.depth_estimation(part, [" "] * len(part), num_inference_steps=steps, seed=i).disparity
    return maps


@dataclass(frozen=True)
class Made:
    """What the two generating tasks gave for N worlds.

    Attributes:
        images: N pictures from the prompts alone.
        disparities: Their N maps (H, W) float32.
        conditioned: N pictures painted onto the worlds' own maps.
    """

    images: list[Image.Image]
    disparities: list[np.ndarray]
    conditioned: list[Image.Image]


def generate(pipe: JointDiTPipeline, worlds: Worlds, steps: int, guidance: float, batch_size: int) -> Made:
    """Run both generating tasks on the worlds' prompts, seeds 0, 1, ..."""
    images, disparities, conditioned = [], [], []
    for i in tqdm(range(0, len(worlds.prompts), batch_size), desc="generation", leave=False):
        prompts = worlds.prompts[i : i + batch_size]
        common = {"num_inference_steps": steps, "guidance_scale": guidance, "seed": i}
        made = pipe.joint_generation(prompts, **common)
        images += made.image
        disparities += made.disparity
        conditioned += pipe.depth_to_image(prompts, worlds.disparities[i : i + batch_size], **common).image
    return Made(images, disparities, conditioned)


def generation_rows(
    pipe: JointDiTPipeline, worlds: Worlds, made: Made, depth_steps: int, steps: int, batch_size: int
) -> list[Row]:
    """Judge what was made for the worlds by depth estimated from it, in `depth_steps` steps; see `Report.rows`."""
    own = consistency(estimate(pipe, made.images, depth_steps, batch_size), made.disparities)
    followed = against(estimate(pipe, made.conditioned, depth_steps, batch_size), worlds.depths)
    return [summarise("joint self-consistency", steps, own), summarise("depth-conditioned", steps, followed)]


def against(maps: list[np.ndarray], depths: list[np.ndarray]) -> list[DepthMetrics]:
    """Compare estimated disparity with true depth, map by map."""
    return [depth_metrics(m, d) for m, d in zip(maps, depths, strict=True)]


def consistency(estimated: list[np.ndarray], own: list[np.ndarray]) -> list[DepthMetrics]:
    """Compare maps estimated from made pictures with the pictures' own, sky and all but empty maps left out."""
    return [
        depth_metrics(m, disparity_to_depth(o), o > SKY)
        for m, o in zip(estimated, own, strict=True)
        if (o > SKY).mean() > 0.05 and np.ptp(o) > 0
    ]


@dataclass(frozen=True)
class Report:
    """Everything measured in a run.

    Attributes:
        rows: Depth estimation against the true depth by step count, and by style at the first of them; joint
            generation, its own depth (lifted with far/near = 8, sky left out) against depth estimated from its image;
            depth-conditioned generation, depth estimated from its image against the true depth of the given map.
        obedience: Pictures made from the prompts alone, by style too, and the drawn ones, which show what the checker
            misses. Empty without a checker.
        distances: Between the same made and drawn pictures; None without a checker.
        sheets: Sample pictures by task.
    """

    rows: list[Row]
    obedience: list[ObedienceRow]
    distances: Distances | None
    sheets: dict[str, Image.Image]


def evaluate_mini(
    pipe: JointDiTPipeline,
    checker: LabelChecker | None,
    worlds: Worlds,
    depth_steps: tuple[int, ...],
    steps: int,
    guidance: float,
    batch_size: int,
) -> Report:
    """Run all three tasks.

    Args:
        pipe: The model.
        checker: The judge of prompt obedience, or None to leave that out.
        worlds: N unseen scenes.
        depth_steps: Step counts at which depth estimation is measured; the first also judges generated images.
        steps: Steps of the two generating tasks.
        guidance: Their guidance scale.
        batch_size: Pairs at once.

    Returns:
        The report.
    """
    rows, sheets = [], {}
    for count in depth_steps:
        maps = estimate(pipe, worlds.images, count, batch_size)
        measured = against(maps, worlds.depths)
        rows.append(summarise("depth estimation", count, measured))
        if count == depth_steps[0]:
            sheets["depth-estimation"] = sheet([worlds.images, worlds.disparities, maps])
            rows += [
                summarise(f"depth estimation, {style}", count, part) for style, part in _by_style(worlds, measured)
            ]

    made = generate(pipe, worlds, steps, guidance, batch_size)
    images = made.images
    sheets["joint-generation"] = sheet([images, made.disparities])
    sheets["depth-to-image"] = sheet([worlds.disparities, made.conditioned])
    rows += generation_rows(pipe, worlds, made, depth_steps[0], steps, batch_size)

    if checker is None:
        return Report(rows, [], None, sheets)
    obedience = [judge("drawn (the checker's own errors)", checker, worlds.images, worlds.prompts)]
    obedience.append(judge("made", checker, images, worlds.prompts))
    for style, part in _by_style(worlds, list(zip(images, worlds.prompts, strict=True))):
        obedience.append(judge(f"made, {style}", checker, *map(list, zip(*part, strict=True))))
    return Report(rows, obedience, distances(checker, images, worlds.images), sheets)


def _by_style(worlds: Worlds, items: list) -> list[tuple[str, list]]:
    """The items of the worlds of each style that has at least two."""
    parts = [(style, [x for x, s in zip(items, worlds.styles, strict=True) if s == style]) for style in STYLES]
    return [(style, part) for style, part in parts if len(part) > 1]


def sheet(columns: list[list]) -> Image.Image:
    """Lay pictures out side by side.

    Args:
        columns: Lists of pictures or disparity maps; the i-th of each stand next to each other.

    Returns:
        A sheet of the first 16 groups.
    """

    def pixels(item: Image.Image | np.ndarray) -> np.ndarray:
        return colorize(item) if isinstance(item, np.ndarray) else np.asarray(item)

    groups = [np.concatenate([pixels(item) for item in group], axis=1) for group in zip(*columns, strict=True)]
    groups = groups[: SHEET_ROWS * SHEET_COLUMNS]
    lines = [
        np.concatenate(groups[i : i + SHEET_COLUMNS], axis=1)
        for i in range(0, len(groups) - SHEET_COLUMNS + 1, SHEET_COLUMNS)
    ]
    return Image.fromarray(np.concatenate(lines or groups, axis=0))


def tables(report: Report) -> str:
    """Write a report as Markdown."""
    parts = [depth_table(report.rows)]
    if far := report.distances:
        parts.append(obedience_table(report.obedience))
        parts.append(
            f"On the checker's features, made against drawn pictures: Fréchet distance {far.frechet:.2f}, "
            f"kernel distance {far.kernel:.2f} ± {far.kernel_std:.2f} (x 1000)."
        )
    return "\n\n".join(parts)


def depth_table(rows: list[Row]) -> str:
    """Write depth rows as a Markdown table."""
    lines = ["| task | steps | scenes | AbsRel % | delta1 % |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.task} | {r.steps} | {r.scenes} "
        f"| {r.abs_rel:.1f} ± {r.abs_rel_ci:.1f} | {r.delta1:.1f} ± {r.delta1_ci:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)
