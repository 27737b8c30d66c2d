"""The depth benchmarks of the paper's Table 1 as they lie on disk: pairs found, read in metres, masked.

Layouts, ranges and masks are those of Marigold's evaluation (Ke et al. 2024, arXiv 2312.02145), so its file lists work.

Letters: H x W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

MIN_VALID = 16  # pixels with true depth, fewer are no measurement
# Top, bottom, left and right as shares of height and width.
CROPS = {
    "": (0, 1, 0, 1),
    # Eigen et al. 2014: rows 45 to 470 and columns 41 to 600; the halves keep `int` from rounding below.
    "nyu-eigen": (45.5 / 480, 471.5 / 480, 41.5 / 640, 601.5 / 640),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),  # the same authors' for KITTI
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),  # Garg et al. 2016
}
RESIZED_ASPECT = 0.02  # how much the aspect of a picture scaled to its depth map may differ


@dataclass(frozen=True)
class Pair:
    """A picture and its depth map, as paths relative to the data set's folder."""

    image: str
    depth: str


@dataclass(frozen=True)
class Fault:
    """A file that could not be used, and a sentence that says why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """One pair, read.

    Attributes:
        image: RGB picture.
        depth: (H, W) float32 in metres, 0 where unknown.
        valid: Name of a crop -> pixels that count in it, (H, W) bool.
    """

    image: Image.Image
    depth: np.ndarray
    valid: dict[str, np.ndarray]


Reader = Callable[[Path, Image.Image], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class DepthDataset:
    """How a benchmark lies on disk and what counts in it.

    Attributes:
        title: Its name in tables.
        image: Pattern of a picture's path; its groups name the pair.
        depth: Pattern of a depth map's path, with the same groups.
        example: A pair of both.
        read: Reads a depth map, given the picture: metres (H, W) and, where the data set has one, its own mask.
        depth_range: Metres; depth outside does not count, and predictions are held within.
        plausible: Metres; where the median depth of a map must lie, else its unit is another one.
        crops: What counts, of `CROPS`; the first is the one of the paper's table.
        size: (H, W) that every map has, or None.
        cut: (H, W) that pictures and maps are cut to, at the bottom in the middle; None leaves them.
        fit_side: Longest side of the map that scale and shift are fitted to, or None for all of it.
        scaled_images: Whether pictures larger than their maps are scaled down to them.
        listed: What a list of files is needed for, if the folder holds more than the benchmark.
    """

    title: str
    image: str
    depth: str
    example: Pair
    read: Reader
    depth_range: tuple[float, float]
    plausible: tuple[float, float]
    crops: tuple[str, ...] = ("",)
    size: tuple[int, int] | None = None
    cut: tuple[int, int] | None = None
    fit_side: int | None = None
    scaled_images: bool = False
    listed: str = ""


def _png16(values_per_metre: float) -> Reader:
    """Reader of gray 16-bit PNG files."""

    def read(path: Path, image: Image.Image) -> tuple[np.ndarray, None]:
        with Image.open(path) as stored:
            if stored.format != "PNG" or stored.mode not in ("I;16", "I;16B", "I"):
                raise ValueError(f"it is {stored.format} of mode {stored.mode}, and must be a gray 16-bit PNG")
            return np.asarray(stored).astype(np.float32) / values_per_metre, None

    return read


def _diode(path: Path, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Metres as floating NPY (H, W, 1), and the mask beside it."""
    depth = np.load(path)
    if depth.dtype.kind != "f":
        raise ValueError(f"it holds {depth.dtype}, and must hold floating metres")
    beside = path.with_name(path.name.replace("_depth.npy", "_depth_mask.npy"))
    if not beside.exists():
        raise ValueError(f"its mask {beside.name} is missing")
    mask = np.load(beside)
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"its mask {beside.name} holds other values than 0 and 1")
    return depth.squeeze().astype(np.float32), mask.squeeze().astype(bool)


def _eth3d(path: Path, image: Image.Image) -> tuple[np.ndarray, None]:
    """Metres as bare little-endian float32, row by row, infinite where unknown."""
    data, (width, height) = path.read_bytes(), image.size
    if len(data) != 4 * width * height:
        raise ValueError(
            f"it has {len(data)} bytes, and {width} x {height} pixels need {4 * width * height} of float32"
        )
    depth = np.frombuffer(data, "<f4").reshape(height, width).copy()
    depth[np.isinf(depth)] = 0
    return depth, None


DATASETS = {
    "nyu": DepthDataset(
        "NYUv2",
        r"(?:(.+)/)?rgb_(\d+)\.png",
        r"(?:(.+)/)?depth_(\d+)\.png",
        Pair("rgb_0001.png", "depth_0001.png"),
        _png16(1000),
        (1e-3, 10.0),
        (0.3, 10.0),
        ("nyu-eigen",),
        (480, 640),
    ),
    "scannet": DepthDataset(
        "ScanNet",
        r"(?:(.+)/)?color/(\d+)\.jpg",
        r"(?:(.+)/)?depth/(\d+)\.png",
        Pair("scene0000_00/color/000000.jpg", "scene0000_00/depth/000000.png"),
        _png16(1000),
        (1e-3, 10.0),
        (0.2, 10.0),
        size=(480, 640),
        scaled_images=True,
        listed="Marigold's 800 sampled pictures",
    ),
    "kitti": DepthDataset(
        "KITTI",
        r"(?:.+/)?\d{4}_\d\d_\d\d/(\w+_sync)/image_02/data/(\d+)\.png",
        r"(?:.+/)?(\w+_sync)/proj_depth/groundtruth/image_02/(\d+)\.png",
        Pair(
            "2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000005.png",
            "2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000005.png",
        ),
        _png16(256),
        (1e-5, 80.0),
        (2.0, 80.0),
        ("eigen", "garg"),
        cut=(352, 1216),
        listed="the Eigen split's test pictures",
    ),
    "diode": DepthDataset(
        "DIODE",
        r"(.+)\.png",
        r"(.+)_depth\.npy",
        Pair("00019_00183_indoors_000_010.png", "00019_00183_indoors_000_010_depth.npy"),
        _diode,
        (0.6, 350.0),
        (0.6, 350.0),
    ),
    "eth3d": DepthDataset(
        "ETH3D",
        r"(?:rgb/)?([^/]+)/images/dslr_images/(\w+)\.JPG",
        r"(?:depth/[^/]+_dslr_depth/)?([^/]+)/ground_truth_depth/dslr_images/(\w+)\.JPG",
        Pair("office/images/dslr_images/DSC_0219.JPG", "office/ground_truth_depth/dslr_images/DSC_0219.JPG"),
        _eth3d,
        (1e-5, np.inf),
        (0.3, 200.0),
        fit_side=1024,
    ),
}


def find_pairs(dataset: DepthDataset, folder: Path, listing: Path | None = None) -> tuple[list[Pair], list[Fault]]:
    """Find a data set's pairs, and what lacks its other half.

    Args:
        dataset: The layout.
        folder: Where it lies.
        listing: A text file in Marigold's form, a line "picture depth ..." each, relative to `folder`; None looks
            through the folder.

    Returns:
        The pairs in the list's order, or sorted; and pictures without depth, or depth without picture.

    Raises:
        OSError: `folder` or `listing` is not there.
        ValueError: There is no pair; the message says what was looked for.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    if listing is not None:
        pairs, faults = [], []
        for line in filter(None, map(str.split, listing.read_text().splitlines())):
            absent = [name for name in line[:2] if not (folder / name).is_file()]
            if len(line) < 2 or line[1] == "None":  # the Eigen split has pictures that were never measured
                faults.append(Fault(line[0], "the list gives it no depth"))
            elif absent:
                faults.append(Fault(line[0], f"{' and '.join(absent)} of the list is missing"))
            else:
                pairs.append(Pair(*line[:2]))
        if not pairs:
            why = f", as {faults[0].file}: {faults[0].reason}" if faults else ""
            raise ValueError(f"{listing} names no pair that is in {folder}{why}")
        return pairs, faults
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    images = {match.groups(): file for file in files if (match := re.fullmatch(dataset.image, file))}
    depths = {match.groups(): file for file in files if (match := re.fullmatch(dataset.depth, file))}
    faults = [Fault(file, "its depth map is missing") for key, file in images.items() if key not in depths]
    faults += [Fault(file, "its picture is missing") for key, file in depths.items() if key not in images]
    pairs = [Pair(file, depths[key]) for key, file in images.items() if key in depths]
    if not pairs:
        halves = f"; {len(faults)} files lack their other half, such as {faults[0].file}" if faults else ""
        looked_for = f"pictures like {dataset.example.image} and depth like {dataset.example.depth}"
        raise ValueError(f"{folder} holds nothing in the layout of {dataset.title}, {looked_for}{halves}")
    return pairs, faults


def read_sample(dataset: DepthDataset, folder: Path, pair: Pair) -> Sample | Fault:
    """Read a pair in metres, or say what is wrong with it.

    Args:
        dataset: The layout.
        folder: Where it lies.
        pair: One of `find_pairs`.

    Returns:
        The sample, or the fault.
    """
    try:
        with Image.open(folder / pair.image) as stored:
            image = stored.convert("RGB")
    except Exception as error:  # decoders raise nearly anything on damaged data
        return Fault(pair.image, f"the picture is damaged: {error}")
    try:
        depth, mask = dataset.read(folder / pair.depth, image)
        return _checked(dataset, image, depth, mask)
    except Exception as error:  # likewise
        return Fault(pair.depth, f"the depth map cannot be used: {error}")


def _checked(dataset: DepthDataset, image: Image.Image, depth: np.ndarray, mask: np.ndarray | None) -> Sample:
    """Cut a pair and find what counts in it; ValueError says what is wrong."""
    if depth.ndim != 2 or (dataset.size is not None and depth.shape != dataset.size):
        wanted = "two dimensions" if dataset.size is None else f"{dataset.size[1]} x {dataset.size[0]} pixels"
        raise ValueError(f"its shape is {depth.shape}, and it must have {wanted}")
    height, width = depth.shape
    if image.size != (width, height) and dataset.scaled_images:
        if abs(image.width * height / (image.height * width) - 1) < RESIZED_ASPECT:
            image = image.resize((width, height), Image.Resampling.LANCZOS)
    if image.size != (width, height):
        raise ValueError(f"it is {width} x {height} pixels, its picture {image.width} x {image.height}")
    if np.isnan(depth).any() or (depth < 0).any():
        raise ValueError("it holds values that are no distances (negative or NaN)")
    known = depth[(depth > 0) if mask is None else mask]
    if len(known) < MIN_VALID:
        raise ValueError(f"it has {len(known)} pixels of known depth, and {MIN_VALID} are needed")
    low, high = dataset.plausible
    if not low <= (median := float(np.median(known))) <= high:
        raise ValueError(
            f"its median is {median:.4g} m, and in {dataset.title} it lies between {low:g} and {high:g}: "
            "its unit seems to be another one"
        )
    if dataset.cut is not None:
        image, depth = _cut(image, depth, *dataset.cut)
    low, high = dataset.depth_range
    counts = mask & (depth > 0) if mask is not None else (depth > low) & (depth < high)
    valid = {crop: counts & _crop(crop, depth.shape) for crop in dataset.crops}
    if (fewest := min(int(part.sum()) for part in valid.values())) < MIN_VALID:
        raise ValueError(f"only {fewest} of its pixels count, and {MIN_VALID} are needed")
    return Sample(image, depth, valid)


def _cut(image: Image.Image, depth: np.ndarray, h: int, w: int) -> tuple[Image.Image, np.ndarray]:
    """Cut a pair to h x w pixels, at the bottom in the middle."""
    height, width = depth.shape
    if height < h or width < w:
        raise ValueError(f"it is {width} x {height} pixels, and is to be cut to {w} x {h}")
    top, left = height - h, (width - w) // 2
    return image.crop((left, top, left + w, top + h)), depth[top : top + h, left : left + w]


def _crop(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) bool of one of `CROPS`."""
    (height, width), inside = shape, np.zeros(shape, bool)
    top, bottom, left, right = CROPS[name]
    inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return inside
