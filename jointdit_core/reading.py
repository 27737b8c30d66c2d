"""Picture and depth files turned into checked values; every refusal is an `InputError` with one plain sentence."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from .decoding import InputError, identify, open_image, read_gray_png, read_npy, to_rgb
from .geometry.camera import fov_from_exif
from .geometry.disparity import FAR_OVER_NEAR, normalise_disparity

RELATIVE, LINEAR = KINDS = ("relative disparity", "metric or linear depth")
NEAR_IS_BRIGHT, NEAR_IS_DARK = POLARITIES = ("near is bright", "near is dark")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what sets the picture upright


@dataclass(frozen=True)
class Photo:
    """A decoded picture file.

    Attributes:
        image: upright RGB picture in sRGB, without any of the file's metadata.
        fov_deg: angle across the longer side in degrees if the camera wrote it into the file, else None.
    """

    image: Image.Image
    fov_deg: float | None


def read_image(path: str | os.PathLike | None) -> Photo:
    """Read a picture file.

    Transparency is laid over white, colour profiles become sRGB, EXIF rotation is applied, 16 bits become 8, and an
    animation gives its first frame.

    Args:
        path: the file, or None if none was given.

    Returns:
        Photo with sides from 16 pixels, at most 8:1, at most 25 megapixels.

    Raises:
        InputError: if there is no file, or it is too large, damaged, oddly shaped or no PNG, JPEG or WebP.
    """
    path, kind, head = identify(path, "picture")
    if kind not in ("PNG", "JPEG", "WEBP"):
        raise InputError("This file is not a PNG, JPEG or WebP picture.")
    with open_image(path, kind, head, "picture") as opened:
        picture = to_rgb(opened)
        orientation, fov_deg = _camera_facts(opened)
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    return Photo(picture, fov_deg)


def _camera_facts(image: Image.Image) -> tuple[int, float | None]:
    """Read EXIF orientation and field of view; a broken EXIF block counts as none."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1), fov_from_exif(image)
    except Exception:  # the block is foreign data, and the picture is fine without it
        return 1, None


def read_depth(path: str | os.PathLike | None, kind: str, polarity: str) -> np.ndarray:
    """Read a depth map as disparity.

    Args:
        path: the file, an 8- or 16-bit gray PNG or a numeric NPY array, or None if none was given.
        kind: one of `KINDS`: values that run with 1 / distance, or with distance.
        polarity: one of `POLARITIES`: whether larger values are nearer. Distances that grow with the value ("metric or
            linear depth", "near is dark") are measured from the camera, so they must be above 0; infinite ones are
            sky. Linear depth stored the other way round has no zero left: its far end is then taken to be
            `FAR_OVER_NEAR` times as far as its near end, which is also how the 3D lift reads disparity by default.

    Returns:
        disparity: float32 (H, W), min-max normalised to [0, 1], near = 1.

    Raises:
        InputError: if there is no file, or it cannot be read exactly, or it holds no depth.
    """
    check_choice("The kind of depth", kind, KINDS)
    check_choice("The polarity", polarity, POLARITIES)
    path, file_kind, head = identify(path, "depth map")
    if file_kind == "NPY":
        values = read_npy(path, "depth map")
    elif file_kind == "PNG":
        values = read_gray_png(path, head, "depth map")
    elif file_kind == "EXR":
        raise InputError("EXR files are not read in this version; please save the depth map as 16-bit PNG or NPY.")
    else:
        raise InputError("A depth map must be a gray PNG (8 or 16 bit) or an NPY array; this file is neither.")
    return _to_disparity(values, kind, polarity)


def _to_disparity(values: np.ndarray, kind: str, polarity: str) -> np.ndarray:
    """Turn stored numbers (H, W) into disparity; see `read_depth`."""
    distances = kind == LINEAR and polarity == NEAR_IS_DARK
    low, high = values.min(), values.max()
    if np.isnan(low):
        raise InputError("The depth map holds values that are not numbers (NaN).")
    if distances and low < 0:
        raise InputError("The depth map holds negative distances.")
    if distances and low == 0:
        raise InputError("The depth map holds distances of 0; please fill its holes, and give sky a large distance.")
    if not distances and not np.isfinite([low, high]).all():
        raise InputError("The depth map holds infinite values; only metric depth may, for the sky.")
    if distances:
        with np.errstate(over="ignore"):
            values = np.divide(1, values, dtype=np.result_type(values.dtype, np.float32))
    if values.min() == values.max():
        raise InputError("The depth map has the same value everywhere, so it holds no depth.")
    try:
        disparity = normalise_disparity(values)
    except ValueError:
        raise InputError("The depth map's values are too large or too small to work with.") from None
    if kind == RELATIVE and polarity == NEAR_IS_DARK:
        np.subtract(1, disparity, out=disparity)
    elif kind == LINEAR and polarity == NEAR_IS_BRIGHT:
        # depth = r - (r - 1) t for nearness t and ratio r; (1 / depth - 1 / r) / (1 - 1 / r) is then t / depth.
        depth = disparity * -(FAR_OVER_NEAR - 1)
        depth += FAR_OVER_NEAR
        disparity /= depth
    return disparity


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of `allowed`, else raise an InputError about `name`."""
    if value not in allowed:
        raise InputError(f"{name} must be one of: {', '.join(allowed)}.")
    return value
