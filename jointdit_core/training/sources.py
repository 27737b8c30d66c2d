"""Pictures to train on, with or without true depth, as they lie on disk.

Letters: H x W pixels.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image, ImageOps

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MAX_UNKNOWN = 0.2  # share of a map without depth; more is left out
HYPERSIM_FOCAL = 886.81 / 1024  # of the image's width
REPLICA_PER_METRE = 6553.5  # of the renderings that SLAM work uses (Nice-SLAM)
MATRIXCITY_SKY = 65504  # the largest float16


class SourceError(ValueError):
    """A file cannot be used; the message says why."""


@dataclass(frozen=True)
class Source:
    """A kind of folder.

    Attributes:
        text: What it holds, for `--help`.
        image: Pattern of a picture's path.
        depth: Of its match, the path of its depth map; None where depth is to be estimated.
        read: Reads a map: nearness (H, W) float32, which grows with 1 / distance, NaN where unknown.
        needs: A package that only this source needs, as pip names it, or "".
    """

    text: str
    image: str
    depth: Callable[[re.Match], str] | None = None
    read: Callable[[Path], np.ndarray] | None = None
    needs: str = ""


def _inverse(distance: np.ndarray) -> np.ndarray:
    """1 / distance, NaN where that is not known."""
    known = np.isfinite(distance) & (distance > 0)
    return np.where(known, 1 / np.where(known, distance, 1), np.nan).astype(np.float32)


def _hypersim(path: Path) -> np.ndarray:
    """Metres from the camera's centre, along each ray, to 1 / depth along the axis."""
    import h5py

    with h5py.File(path, "r") as file:
        distance = file["dataset"][:].astype(np.float32)
    height, width = distance.shape
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    focal = HYPERSIM_FOCAL * width
    return _inverse(distance * focal / np.sqrt(x**2 + y**2 + focal**2))


def _replica(path: Path) -> np.ndarray:
    with Image.open(path) as stored:
        if not stored.mode.startswith("I"):
            raise SourceError(f"the depth map is of mode {stored.mode}, and must be a gray 16-bit PNG")
        return _inverse(np.asarray(stored).astype(np.float32) / REPLICA_PER_METRE)


def _exr(path: Path) -> np.ndarray:
    """The first channel of an EXR file as float32."""
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    name = next((name for name in ("R", "Y", "G", "Z", "V") if name in channels), next(iter(channels)))
    return np.asarray(channels[name].pixels, np.float32)


def _irs(path: Path) -> np.ndarray:
    """Stereo disparity in pixels, which is nearness already."""
    disparity = _exr(path)
    return np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan).astype(np.float32)


def _matrixcity(path: Path) -> np.ndarray:
    """Centimetres; the sky is infinitely far, not unknown."""
    depth = _exr(path)
    return np.where(depth >= MATRIXCITY_SKY, 0, _inverse(depth)).astype(np.float32)


SOURCES = {
    "images": Source("any pictures; depth is estimated", r".+\.(?:png|jpe?g|webp)"),
    "hypersim": Source(
        "Hypersim: its tone-mapped previews and depth_meters",
        r"(.*images/scene_cam_\d+)_final_preview/frame\.(\d+)\.tonemap\.jpg",
        lambda found: f"{found[1]}_geometry_hdf5/frame.{found[2]}.depth_meters.hdf5",
        _hypersim,
        "h5py==3.16.0",
    ),
    "replica": Source(
        "Replica, as rendered for Nice-SLAM",
        r"(.+)/results/frame(\d+)\.jpg",
        lambda found: f"{found[1]}/results/depth{found[2]}.png",
        _replica,
    ),
    "irs": Source(
        "IRS: left pictures and disparity", r"(.+)/l_(\d+)\.png", lambda found: f"{found[1]}/d_{found[2]}.exr", _irs
    ),
    "matrixcity": Source(
        "MatrixCity: rgb and depth side by side",
        r"(.+)/rgb/(\d+)\.png",
        lambda found: f"{found[1]}/depth/{found[2]}.exr",
        _matrixcity,
    ),
}


def check_source(name: str) -> None:
    """Refuse a source whose package is missing.

    Args:
        name: A name in `SOURCES`.

    Raises:
        ModuleNotFoundError: The message says what to install.
    """
    needs = SOURCES[name].needs
    if needs and importlib.util.find_spec(needs.split("==")[0]) is None:
        raise ModuleNotFoundError(f"Reading {name} needs one more package: pip install {needs}")


def find_pictures(name: str, folder: Path) -> list[str]:
    """List a source's pictures.

    Args:
        name: A name in `SOURCES`.
        folder: Where it lies.

    Returns:
        Paths relative to the folder, sorted.

    Raises:
        OSError: There is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    pattern = re.compile(SOURCES[name].image, re.IGNORECASE)
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if names := sorted(filter(pattern.fullmatch, found)):
        return names
    raise FileNotFoundError(f"{folder} holds no picture of {SOURCES[name].text}")


def read_picture(name: str, folder: Path, file: str, side: int) -> tuple[Image.Image, np.ndarray | None]:
    """Read a picture, and its depth where the source has it, scaled (short side) and cropped to a square's centre.

    Args:
        name: A name in `SOURCES`.
        folder: Where it lies.
        file: One of `find_pictures`.
        side: Of the square, in pixels.

    Returns:
        RGB picture (side, side), and its nearness (side, side) float32, finite, of any scale and shift; or None.

    Raises:
        SourceError: A file is missing, damaged, or holds too little depth.
    """
    source = SOURCES[name]
    try:
        with Image.open(folder / file) as stored:
            image = ImageOps.exif_transpose(stored).convert("RGB")
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise SourceError(f"the picture is damaged: {error}") from error
    if min(image.size) < side // 2:
        raise SourceError(f"it is {image.width} x {image.height} pixels, too small for {side} x {side}")
    square = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    if source.depth is None:
        return square, None
    beside = source.depth(re.fullmatch(source.image, file, re.IGNORECASE))
    if not (folder / beside).is_file():
        raise SourceError(f"its depth map {beside} is missing")
    try:
        near = source.read(folder / beside)
    except Exception as error:  # likewise
        raise SourceError(f"its depth map {beside} is damaged: {error}") from error
    if near.shape != (image.height, image.width):
        raise SourceError(
            f"its depth map has the shape {near.shape}, the picture {image.width} x {image.height} pixels"
        )
    if (unknown := float(np.isnan(near).mean())) > MAX_UNKNOWN:
        raise SourceError(f"{100 * unknown:.0f} % of its depth map is unknown")
    near = np.nan_to_num(near, nan=float(np.nanmin(near)))  # windows and open walls count as far
    fitted = np.asarray(ImageOps.fit(Image.fromarray(near), (side, side), Image.Resampling.BILINEAR))
    return square, fitted


def unit_range(near: np.ndarray) -> np.ndarray:
    """Stretch nearness to [0, 1].

    Args:
        near: (H, W) float, finite.

    Returns:
        Disparity (H, W) float32.

    Raises:
        SourceError: It is the same everywhere, or not finite.
    """
    low, high = float(near.min()), float(near.max())
    if not np.isfinite(low + high) or high - low < 1e-12:
        raise SourceError("its depth is the same everywhere, or not finite")
    return ((near - low) / (high - low)).astype(np.float32)
