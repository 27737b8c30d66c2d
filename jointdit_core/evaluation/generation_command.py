"""The commands `generation` and `features`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..training.annotate import DEPTH_MODEL, depth_estimator
from ..training.sources import find_pictures
from .features import block_features, feature_sheet
from .generation import (
    Inception,
    clip_score,
    estimate_maps,
    followed,
    frechet_distance,
    inception_score,
    make_pictures,
    read_prompts,
    squares,
)
from .intervals import mean_and_ci
from .mini import draw_worlds, sheet
from .models import load_model, model_name
from .paper import DEPTH_CONDITIONED, JOINT_GENERATION

SHOWN = 16  # pictures on a sheet


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Add the options of `generation`."""
    parser.add_argument("--prompts", type=Path, required=True, help='text file, a prompt a line; "picture<TAB>prompt"')
    parser.add_argument("--on-depth", action="store_true", help="paint on the depth of --images, which --prompts names")
    parser.add_argument("--images", type=Path, help="folder of real pictures, for FID and --on-depth")
    parser.add_argument("--inception", type=Path, help="TorchScript file of Inception, for FID and IS")
    parser.add_argument("--clip", help="folder or hub id of CLIP, for the CLIP score")
    parser.add_argument("--depth-model", default=DEPTH_MODEL, help="for --on-depth (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first prompts")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=3.5, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for pictures, table, JSON; gone on with if begun"
    )


def generation(args: argparse.Namespace) -> None:
    """Run `generation`."""
    if (args.on_depth or args.inception) and args.images is None:
        raise ValueError("FID and --on-depth compare with real pictures; name their folder with --images")
    prompts = read_prompts(args.prompts, args.on_depth)[: args.limit]
    real = [args.images / p.file for p in prompts] if args.on_depth else []
    if missing := [file for file in real if not file.is_file()]:
        raise ValueError(f"{missing[0]} of {args.prompts} is missing, as {len(missing)} pictures are")
    if args.images and not real:
        real = [args.images / name for name in find_pictures("images", args.images)]
    if args.inception and min(len(prompts), len(real)) < 2:
        raise ValueError("FID compares two sets of pictures; --prompts and --images must give two each at least")
    inception = [Inception(args.inception, scores) for scores in (False, True)] if args.inception else []
    pipe = load_model(args)
    device, size, side = pipe.device, args.batch_size, pipe.config.default_size
    figures: dict[str, float | int | str] = {"model": model_name(args), "steps": args.steps, "pictures": len(prompts)}
    maps = estimate = None
    if args.on_depth:
        estimate = depth_estimator(args.depth_model, device)
        maps = estimate_maps(squares(real, side), estimate, size)
    files = make_pictures(pipe, prompts, maps, args.out / "pictures", args.steps, args.guidance, size)

    def made() -> Iterator[Image.Image]:
        return squares(files, side)

    if inception:
        figures["fid"] = frechet_distance(made(), squares(real, side), inception[0], device, size)
        figures["is"] = inception_score(made(), inception[1], device, size)
    if args.clip:
        figures["clip"] = clip_score(made(), [p.text for p in prompts], args.clip, device, size)
    columns = [list(made())[:SHOWN]]
    if maps is not None:
        found = estimate_maps(made(), estimate, size)
        metrics = followed(maps, found)
        figures["abs_rel"], figures["abs_rel_ci"] = mean_and_ci([m.abs_rel for m in metrics])
        columns = [list(squares(real[:SHOWN], side)), maps[:SHOWN], *columns, found[:SHOWN]]
    sheet(columns).save(args.out / "generation.png")
    (args.out / "generation.json").write_text(json.dumps(figures, indent=1))
    table = generation_table(figures)
    (args.out / "generation.md").write_text(table + "\n")
    sys.stdout.write(table + "\n")


def generation_table(figures: dict) -> str:
    """Set figures beside the paper's, which were measured on data sets of its own.

    Args:
        figures: Of one run, as its JSON holds them.

    Returns:
        Markdown.
    """

    def row(name: str, values: list[float | None]) -> str:
        return f"| {name} | " + " | ".join("—" if value is None else f"{value:.2f}" for value in values) + " |"

    ours = f"**{figures['model']}, {figures['pictures']} pictures, {figures['steps']} steps**"
    if "abs_rel" in figures:
        lines = ["| depth-conditioned | FID ↓ | AbsRel ↓ |", "|---|---|---|"]
        lines += [row(f"{method}, OpenImages 6K", list(values)) for method, values in DEPTH_CONDITIONED.items()]
        return "\n".join([*lines, row(ours, [figures.get("fid"), figures["abs_rel"]])])
    lines = ["| joint generation | FID ↓ | IS ↑ | CLIP ↑ |", "|---|---|---|---|"]
    lines += [row(f"Ours (paper), {name}", list(values)) for name, values in JOINT_GENERATION.items()]
    return "\n".join([*lines, row(ours, [figures.get(key) for key in ("fid", "is", "clip")])])


def add_features(parser: argparse.ArgumentParser) -> None:
    """Add the options of `features`."""
    parser.add_argument(
        "--images", type=Path, nargs="+", help="pictures; their depth is estimated (default: drawn worlds)"
    )
    parser.add_argument("--prompt", default=" ", help="of the pictures (default: blank)")
    parser.add_argument("--count", type=int, default=3, help="drawn worlds (default: %(default)s)")
    parser.add_argument(
        "--blocks", type=int, nargs="+", help="counted from 1, double ones first (default: four of them)"
    )
    parser.add_argument("--sigma", type=float, default=0.52, help="noise level of both branches (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")


def features(args: argparse.Namespace) -> None:
    """Run `features`."""
    if not 0 < args.sigma <= 1:
        raise ValueError(f"--sigma is {args.sigma}; it lies above 0 and not above 1")
    pipe = load_model(args)
    if args.images:
        images = list(squares(args.images, pipe.config.default_size))
        prompts = [args.prompt] * len(images)
        disparities = list(np.asarray(pipe.depth_estimation(images, prompts, seed=0).disparity))
    else:
        worlds = draw_worlds(args.count, pipe.config.default_size, torch.device("cpu"))
        images, disparities, prompts = worlds.images, worlds.disparities, worlds.prompts
    config = pipe.transformer.config
    total = config.num_layers + config.num_single_layers
    # The paper's 1, 7, 13 and 17 of 19 double blocks, where there are as many; else four spread over all.
    spread = [1, 7, 13, 17] if config.num_layers >= 17 else sorted({round(1 + i * (total - 1) / 3) for i in range(4)})
    found, grid = block_features(pipe, images, disparities, prompts, args.blocks or spread, args.sigma)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    feature_sheet(images, disparities, found, grid).save(args.out)
    sys.stdout.write(f"{args.out}\n")
