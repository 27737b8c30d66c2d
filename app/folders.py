"""Depth for folders of any size, here or on replicas: `python -m app.folders PHOTOS --out DEPTH [--serve FILE]`.

What is done already is passed over, so that a run that was ended goes on when it is started again.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from app import serve
from app.engine import Engine, Request, Resident
from app.jobs import LaneError
from app.lane import Lane
from app.limits import TIME_LIMIT_S
from app.replica import Loading
from app.serve_config import Config, read_config
from jointdit_core import JointDiTOutput
from jointdit_core.decoding import InputError
from jointdit_core.geometry.export import write_png16
from jointdit_core.presets import PRESETS, Preset, load
from jointdit_core.reading import read_image
from jointdit_core.results import Settings

logger = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
AHEAD = 2  # pictures that are read, or written, while each replica works on one


class Folder:
    """A folder of pictures, and one that their maps go to under the same names."""

    def __init__(self, pictures: Path, maps: Path) -> None:
        self.pictures, self.maps = pictures, maps

    def map_of(self, picture: Path) -> Path:
        """Return where a picture's map goes: "a/b.jpg" to "a/b.jpg-depth16.png"."""
        name = picture.relative_to(self.pictures)
        return self.maps / name.with_name(f"{name.name}-depth16.png")

    def all(self) -> list[Path]:
        """Return every picture in the folder and below, by name."""
        found = (path for path in self.pictures.rglob("*") if path.suffix.lower() in PICTURES)
        return sorted(path for path in found if self.maps not in path.parents)


def estimate(engine: Engine, folder: Folder, asked: Settings, workers: int) -> tuple[int, int]:
    """Estimate the depth of every picture that has no map yet.

    Args:
        engine: what runs the model.
        folder: the pictures and their maps.
        asked: settings of all.
        workers: of the engine's lane.

    Returns:
        How many maps there are now, and how many pictures could not be used; each of these is named in the log.
    """
    found = folder.all()
    left = [picture for picture in found if not folder.map_of(picture).exists()]
    turns, guard, ended, failed = iter(left), threading.Lock(), threading.Event(), []

    def next_picture() -> Iterator[Path]:
        while not ended.is_set():
            with guard:
                picture = next(turns, None)
            if picture is None:
                return
            yield picture

    def work(number: int) -> None:
        for picture in next_picture():
            try:
                _estimate_one(engine, folder, asked, picture, f"folder{number}")
            except (InputError, LaneError) as error:
                failed.append(picture)
                logger.error("%s: %s", picture, error)
            bar.update()

    with (
        tqdm(total=len(found), initial=len(found) - len(left), desc="depth", unit="picture") as bar,
        ThreadPoolExecutor(AHEAD * workers) as pool,
    ):
        try:
            list(pool.map(work, range(AHEAD * workers)))
        finally:  # an interrupt, or a full disk, ends them all
            ended.set()
    return len(found) - len(failed), len(failed)


def _estimate_one(engine: Engine, folder: Folder, asked: Settings, picture: Path, owner: str) -> None:
    """Make one map; it appears whole or not at all."""
    target = folder.map_of(picture)
    *_, output = engine.run(Request(owner, asked, np.asarray(read_image(picture).image)))
    assert isinstance(output, JointDiTOutput)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part.png")
    write_png16(part, output.disparity)
    os.replace(part, target)


def start(config: Config | None, preset: Preset, device: str, folder: Path) -> tuple[Engine, int]:
    """Load the model here, or start its replicas; return the engine and the workers of its lane."""
    if config is None:
        pipe = load(preset, device)
        pipe.set_progress_bar_config(disable=True)
        return Engine(Resident(pipe, preset.name), Lane(AHEAD, with_previews=False)), 1
    loading = Loading.by(config, PRESETS[config.preset], TIME_LIMIT_S, with_previews=False)
    (model,) = serve.start([(config, loading)], folder)
    return Engine(model, Lane(AHEAD * config.workers, workers=config.workers)), config.workers


def main(arguments: list[str] | None = None) -> int:
    """Run over one folder; return 0, or 1 if something could not be used."""
    parser = argparse.ArgumentParser(prog="python -m app.folders", description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder of PNG, JPEG or WebP files, with its own folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for the 16-bit maps, under the same names")
    parser.add_argument("--preset", choices=PRESETS, default="mini", help="the model (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="without --serve: such as cpu or cuda (default: %(default)s)")
    parser.add_argument("--serve", metavar="FILE", help="run replicas on Ray Serve, as a config file says")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the preset's standard)")
    parser.add_argument("--seed", type=int, default=0, help="the same for all (default: %(default)s)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    preset = PRESETS[args.preset]
    steps = args.steps or preset.tasks["depth_estimation"].steps["standard"]
    asked = Settings("depth_estimation", "", args.seed, steps, None, preset.name)
    try:
        if not args.pictures.is_dir():
            raise ValueError(f"{args.pictures} is not a folder.")
        config = read_config(args.serve, preset.name) if args.serve else None
        with tempfile.TemporaryDirectory() as folder, logging_redirect_tqdm():
            engine, workers = start(config, preset, args.device, Path(folder))
            with contextlib.closing(engine):
                done, failed = estimate(engine, Folder(args.pictures, args.out), asked, workers)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    logger.warning("%d maps in %s; %d pictures could not be used.", done, args.out, failed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
