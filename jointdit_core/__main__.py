"""JointDiT from the command line: `generate`, `depth`, `from-depth` and `lift`; see `--help` of each."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from .memory import PLANS
from .presets import PRESETS, adapt, load
from .reading import LINEAR, NEAR_IS_BRIGHT, NEAR_IS_DARK, RELATIVE, read_depth, read_image
from .request import DRAWN_SEEDS
from .results import LiftSettings, Result, Settings, write_files

logger = logging.getLogger(__name__)

PICTURES, MAPS = (".png", ".jpg", ".jpeg", ".webp"), (".png", ".npy")  # what is taken out of a folder
TASKS = {"generate": "joint_generation", "depth": "depth_estimation", "from-depth": "depth_to_image"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jointdit_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    generate = commands.add_parser("generate", help="prompts -> pictures with their depth")
    generate.add_argument("prompts", nargs="+", metavar="PROMPT")
    for side in ("width", "height"):
        generate.add_argument(f"--{side}", type=int, help="in pixels (default: the model's own)")
    _add_run(generate, guided=True)

    depth = commands.add_parser("depth", help="pictures -> their depth")
    depth.add_argument("inputs", nargs="+", type=Path, metavar="PICTURE", help="PNG, JPEG or WebP files, or folders")
    _add_run(depth, given=True)

    back = commands.add_parser("from-depth", help="depth maps -> pictures that fit them")
    back.add_argument("inputs", nargs="+", type=Path, metavar="MAP", help="gray PNG or NPY files, or folders of them")
    back.add_argument("--prompt", default="", help="what the pictures should show")
    _add_map(back)
    _add_run(back, guided=True, given=True)

    lift = commands.add_parser(
        "lift", help="a picture and its depth map -> point cloud, mesh and more, without a model"
    )
    lift.add_argument("picture", type=Path, help="PNG, JPEG or WebP file")
    lift.add_argument("map", type=Path, help="gray PNG or NPY file of the same size")
    _add_map(lift)
    _add_lift(lift)
    return parser


def _add_run(parser: argparse.ArgumentParser, guided: bool = False, given: bool = False) -> None:
    """Add what all commands that run the model take."""
    parser.add_argument("--preset", choices=PRESETS, default="mini", help="the model (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--base", metavar="REPO[@REVISION]", help="for flux-dev: another FLUX of its shape, or a folder"
    )
    parser.add_argument("--addons", metavar="REPO[@REVISION]", help="for flux-dev: other add-ons, or a folder")
    parser.add_argument(
        "--lora", action="append", default=[], metavar="REPO[/FILE][@REVISION][:SCALE]", help="for flux-dev, or a file"
    )
    parser.add_argument("--memory", choices=PLANS, help="how flux-dev fits the card (default: the first that does)")
    parser.add_argument("--seed", type=int, help="the same for all inputs (default: drawn, one for each)")
    parser.add_argument("--quality", choices=("draft", "standard", "fine"), default="standard", help="sets the steps")
    parser.add_argument("--steps", type=int, help="denoising steps, instead of --quality")
    if guided:
        parser.add_argument("--guidance", type=float, help="how closely to follow the prompt (default: the model's)")
    if given:
        parser.add_argument(
            "--looseness", type=float, default=0.0, help="0 keeps what is given exactly, 1 ignores it (default: 0)"
        )
    _add_lift(parser)


def _add_map(parser: argparse.ArgumentParser) -> None:
    """Add how the values of a depth map are meant."""
    parser.add_argument("--metric", action="store_true", help="the maps hold distances, not relative disparity")
    parser.add_argument("--near-is-dark", action="store_true", help="small values are near, as in distances")


def _add_lift(parser: argparse.ArgumentParser) -> None:
    """Add how results are lifted into 3D and where they go."""
    usual = LiftSettings()
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, one folder each")
    parser.add_argument(
        "--fov", type=float, help=f"field of view in degrees (default: the photo's, or {usual.fov_deg})"
    )
    parser.add_argument("--far-over-near", type=float, default=usual.far_over_near, help="(default: %(default)s)")
    parser.add_argument(
        "--edge-cut", type=float, default=100 * usual.edge_threshold, help="percent; 0 keeps all (default: %(default)s)"
    )
    parser.add_argument("--points", type=int, default=usual.max_points, help="at most (default: %(default)s)")
    parser.add_argument("--no-sky", action="store_true", help="leave out what lies on the far plane")
    parser.add_argument("--smooth", action="store_true", help="smooth the stair-steps of 8-bit maps")


def _kind(args: argparse.Namespace) -> tuple[str, str]:
    """What a map's values are, as `read_depth` takes it."""
    kind = LINEAR if args.metric else RELATIVE
    return kind, NEAR_IS_DARK if args.near_is_dark else NEAR_IS_BRIGHT


def _lifting(args: argparse.Namespace, fov_deg: float | None) -> LiftSettings:
    usual = LiftSettings().fov_deg if fov_deg is None else fov_deg
    fov_deg = usual if args.fov is None else args.fov
    return LiftSettings(fov_deg, args.far_over_near, args.edge_cut / 100 or None, args.points, args.no_sky, args.smooth)


def _files(paths: Iterable[Path], endings: tuple[str, ...]) -> list[Path]:
    """Every file, and in place of a folder the files in it that end right, by name."""
    found = []
    for path in paths:
        inside = (
            [file for file in sorted(path.iterdir()) if file.suffix.lower() in endings] if path.is_dir() else [path]
        )
        found += inside
    return found


def _runs(args: argparse.Namespace) -> list[tuple[str, Callable[[], tuple[str, object, float | None]]]]:
    """Name every run, with a function that reads its prompt, what is given, and the field of view if a photo tells."""
    if args.command == "generate":
        return [(f"{n:04d}", lambda prompt=prompt: (prompt, None, None)) for n, prompt in enumerate(args.prompts, 1)]
    if args.command == "depth":

        def photo(path: Path) -> tuple[str, object, float | None]:
            read = read_image(path)
            return "", read.image, read.fov_deg

        return [(file.stem, lambda file=file: photo(file)) for file in _files(args.inputs, PICTURES)]
    files = _files(args.inputs, MAPS)
    return [(file.stem, lambda file=file: (args.prompt, read_depth(file, *_kind(args)), None)) for file in files]


def _run(args: argparse.Namespace) -> int:
    """Run the model on every input; one that cannot be used is named and passed over."""
    runs = _runs(args)
    if not runs:
        logger.error("There is nothing to do: no file of the right kind was found.")
        return 1
    names = [name for name, _ in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        logger.error("Several inputs would go to %s; give them different names.", args.out / twice[0])
        return 1
    try:
        preset = adapt(PRESETS[args.preset], args.base, args.addons, args.lora)
        pipe = load(preset, args.device, args.memory, loras=args.lora)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    pipe.set_progress_bar_config(disable=len(runs) > 1, leave=False)
    task = TASKS[args.command]
    defaults = preset.tasks[task]
    steps = defaults.steps[args.quality] if args.steps is None else args.steps
    guidance = getattr(args, "guidance", None)
    if task != "depth_estimation" and guidance is None:
        guidance = defaults.guidance_scale
    size = None, None
    if task == "joint_generation":
        width, height = preset.sizes[0]
        size = args.width or width, args.height or height
    failed = 0
    for name, read in tqdm(runs, desc=args.command, unit="run", disable=len(runs) == 1):
        try:
            prompt, given, fov_deg = read()
            seed = secrets.randbelow(DRAWN_SEEDS) if args.seed is None else args.seed
            loose = getattr(args, "looseness", 0.0)
            asked = Settings(task, prompt, seed, steps, guidance, preset.name, loose, None, *size)
            began = time.monotonic()
            output = asked.run(pipe, given)
            seconds = time.monotonic() - began
            made = np.asarray(output.image), output.disparity
            result = Result(*made, asked, seconds, output.notes, folder=args.out / name, fov_deg=fov_deg)
            write_files(result, _lifting(args, fov_deg))
        except ValueError as error:
            failed += 1
            logger.error("%s: %s", name, error)
            continue
        logger.info("%s: %.1f s, seed %d%s", result.folder, seconds, seed, "".join(f"; {n}" for n in output.notes))
    if failed:
        logger.error("%d of %d inputs could not be used.", failed, len(runs))
    return int(failed > 0)


def _lift(args: argparse.Namespace) -> int:
    """Lift a picture and its map."""
    try:
        photo, disparity = read_image(args.picture), read_depth(args.map, *_kind(args))
        if photo.image.size != disparity.shape[::-1]:
            raise ValueError(f"The picture has {photo.image.size}, the map {disparity.shape[::-1]} pixels.")
        settings = Settings("lift", "", 0, 0, None, "none")
        result = Result(np.asarray(photo.image), disparity, settings, folder=args.out / args.picture.stem)
        write_files(result, _lifting(args, photo.fov_deg))
    except ValueError as error:
        logger.error("%s", error)
        return 1
    logger.info("%s", result.folder)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as on the command line; None reads them from there.

    Returns:
        The exit status: 0, or 1 if something could not be used.
    """
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with logging_redirect_tqdm():
        return _lift(args) if args.command == "lift" else _run(args)


if __name__ == "__main__":
    sys.exit(main())
