"""Foreign files decoded safely: known by their first bytes, measured by their header, only then decoded, once.

Whatever a decoder makes of damaged data, the caller sees an `InputError` with one plain sentence.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

MAX_FILE_BYTES = 40_000_000
MAX_PIXELS = 25_000_000
MIN_SIDE = 16
MAX_ASPECT = 8

_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"\x93NUMPY": "NPY", b"\x76\x2f\x31\x01": "EXR"}
_HEAD_BYTES = 32  # reaches past a PNG's IHDR and a WebP's size
_STRIP_ROWS = 256  # colours are converted strip by strip, so that a large picture is in memory twice at most
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class InputError(ValueError):
    """Something a person gave cannot be used; the message is one sentence for them."""


def identify(path: str | os.PathLike | None, what: str) -> tuple[Path, str | None, bytes]:
    """Check that a file is there and not too large, and tell its format by its first bytes.

    Args:
        path: the file, or None if none was given.
        what: the file's role in sentences, such as "picture".

    Returns:
        The path; "PNG", "JPEG", "WEBP", "NPY", "EXR" or None; the file's first 32 bytes.

    Raises:
        InputError: if there is no file, or it is empty or too large.
    """
    if not path:
        raise InputError(f"Please choose a {what} first.")
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        raise InputError(f"The {what} could not be opened; please choose it again.") from None
    if size == 0:
        raise InputError(f"The {what} is an empty file.")
    if size > MAX_FILE_BYTES:
        raise InputError(f"The {what} has {size / 1e6:.1f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB are allowed.")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return path, "WEBP", head
    return path, next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None), head


def check_size(width: int, height: int, what: str) -> None:
    """Raise an InputError unless a map of this size is neither tiny, huge nor a thin strip."""
    if min(width, height) < MIN_SIDE:
        raise InputError(f"The {what} is {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise InputError(f"The {what} has {width * height / 1e6:.1f} megapixels; at most {limit} are allowed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"The {what} is {width} x {height} pixels; its sides may differ by {MAX_ASPECT} times at most."
        )


@contextmanager
def open_image(path: Path, kind: str, head: bytes, what: str) -> Iterator[Image.Image]:
    """Open an image for the length of a `with` block; its size is checked, nothing is decoded yet.

    Args:
        path: the file.
        kind: "PNG", "JPEG" or "WEBP", as `identify` told it; no other decoder is tried.
        head: the file's first 32 bytes.
        what: the file's role in sentences.

    Yields:
        The opened image. Errors raised in the block, other than InputError, count as damage to the file.

    Raises:
        InputError: if the size is out of bounds, or the file is damaged, here or inside the block.
    """
    if kind == "WEBP":
        check_size(*_webp_size(head), what)  # by hand: opening a WebP already sets aside memory for its canvas
    try:
        with Image.open(path, formats=[kind]) as image:
            check_size(*image.size, what)
            yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise InputError(f"The {what} is far too large; at most {limit} are allowed.") from None
    except Exception:  # decoders raise nearly anything on damaged data
        raise InputError(f"The {what} is damaged or cut short.") from None


def _webp_size(head: bytes) -> tuple[int, int]:
    """Read width and height from a WebP's first 32 bytes (RFC 9649)."""
    data = head.ljust(_HEAD_BYTES, b"\0")
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image to RGB.

    Args:
        image: any mode and colour profile, its first frame counts.

    Returns:
        RGB picture in sRGB, transparency laid over white, 16 bits cut to 8, without the file's metadata.
    """
    image.load()
    mode = "CMYK" if image.mode == "CMYK" else "L" if image.mode == "L" and not image.has_transparency_data else "RGB"
    profile = _to_srgb(image.info.get("icc_profile"), mode)
    picture = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        if strip.mode.startswith("I"):
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        elif strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        strip = strip.convert(mode)
        picture.paste(profile.apply(strip) if profile else strip.convert("RGB"), (0, top))
    return picture


def _to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from an embedded profile to sRGB; None if it is sRGB, absent, broken or for other colours."""
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def read_gray_png(path: Path, head: bytes, what: str) -> np.ndarray:
    """Decode a PNG that holds one number per pixel.

    Args:
        path: the file.
        head: its first 32 bytes.
        what: the file's role in sentences.

    Returns:
        uint8 or uint16 (H, W), as stored.

    Raises:
        InputError: if the file is damaged, coloured, partly transparent or 16 bits deep with more than one channel.
    """
    bit_depth, color_type = head[24:25], head[25:26]
    if bit_depth == b"\x10" and color_type != b"\0":
        raise InputError(f"A 16-bit {what} must have a single gray channel; please save it without colour or alpha.")
    with open_image(path, "PNG", head, what) as image:
        image.load()
        if image.mode.startswith("I") or image.mode == "L":
            return np.array(image)
        red, green, blue, alpha = (np.asarray(band) for band in image.convert("RGBA").split())
        if alpha.min() < 255:
            raise InputError(f"The {what} is partly transparent; please save it without transparency.")
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            raise InputError(f"The {what} is coloured, so its values cannot be read; please save it in gray.")
        return red


def read_npy(path: Path, what: str) -> np.ndarray:
    """Read a numeric NPY file, its header first; nothing in it is ever executed.

    Args:
        path: the file.
        what: the file's role in sentences.

    Returns:
        (H, W) of any integer or float type up to 64 bits, native byte order; a single channel axis is dropped.

    Raises:
        InputError: if the header is damaged or claims something else, or if the data are not as long as it claims.
    """
    with path.open("rb") as file:
        try:
            shape, fortran_order, dtype = _NPY_HEADERS[np.lib.format.read_magic(file)](file)
        except Exception:  # the header is parsed as Python literals, which can fail in many ways
            raise InputError(f"The {what} has a damaged or unknown NPY header.") from None
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise InputError(
                f"The {what} must hold plain numbers of at most 64 bits; this NPY file holds {dtype.name}."
            )
        plane = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        plane = plane[:-1] if len(plane) == 3 and plane[-1] == 1 else plane
        if len(plane) != 2:
            raise InputError(f"The {what} must have the shape (height, width); this NPY file has {len(shape)} axes.")
        check_size(plane[1], plane[0], what)
        if path.stat().st_size - file.tell() != math.prod(plane) * dtype.itemsize:
            raise InputError(f"The {what} is cut short or longer than its NPY header says.")
        values = np.fromfile(file, dtype)
    values = values.reshape(plane, order="F" if fortran_order else "C")
    return np.ascontiguousarray(values, dtype.newbyteorder("="))
