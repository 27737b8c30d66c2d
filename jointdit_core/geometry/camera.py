"""The pinhole camera: field of view, EXIF focal length, intrinsics. Conventions: see the package."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import ExifTags, Image

FOV_DEG_MIN, FOV_DEG_MAX = 5.0, 150.0
FOV_DEG = 55.0  # across the longer side: between a phone's main camera (about 67) and a standard lens (about 40)
_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # CIPA DCG-001: 35 mm equivalents compare diagonals
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF FocalPlaneResolutionUnit: inch, cm, mm, um


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera.

    Attributes:
        f_px: focal length in pixels, the same for both axes.
        cx: column of the principal point in continuous image coordinates, pixels.
        cy: row of the principal point in continuous image coordinates, pixels.
        width: image width in pixels.
        height: image height in pixels.
    """

    f_px: float
    cx: float
    cy: float
    width: int
    height: int

    @property
    def fov_deg(self) -> float:
        """Angle across the longer side in degrees."""
        return math.degrees(2 * math.atan(max(self.width, self.height) / (2 * self.f_px)))


def intrinsics(width: int, height: int, fov_deg: float = FOV_DEG) -> Intrinsics:
    """Make the camera of an image from its field of view.

    Args:
        width: image width in pixels, >= 1.
        height: image height in pixels, >= 1.
        fov_deg: angle across the longer side in degrees, in [5, 150].

    Returns:
        Intrinsics with the principal point in the middle of the image.

    Raises:
        ValueError: for a size or an angle out of range.
    """
    if width < 1 or height < 1:
        raise ValueError(f"width, height: got {width} x {height}, allowed is at least 1 x 1")
    if not FOV_DEG_MIN <= fov_deg <= FOV_DEG_MAX:
        raise ValueError(f"fov_deg: got {fov_deg}, allowed is [{FOV_DEG_MIN:g}, {FOV_DEG_MAX:g}] degrees")
    f_px = max(width, height) / (2 * math.tan(math.radians(fov_deg) / 2))
    return Intrinsics(f_px, width / 2, height / 2, width, height)


def fov_from_exif(image: Image.Image) -> float | None:
    """Read the field of view a camera wrote into a photo.

    `FocalLengthIn35mmFilm` is preferred; else `FocalLength` with the sensor's pixel pitch. A photo cropped after it
    was taken still tells its old focal length, which nothing in the file gives away.

    Args:
        image: an opened photo, still with its EXIF data, upright or not.

    Returns:
        fov_deg: angle across the longer side in degrees, or None if the photo does not tell a plausible one.
    """
    tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
    tag = ExifTags.Base
    longer, shorter = max(image.size), min(image.size)

    if film_mm := _positive(tags.get(tag.FocalLengthIn35mmFilm)):
        longer_mm, focal_mm = _FILM_DIAGONAL_MM * longer / math.hypot(longer, shorter), film_mm
    else:
        focal_mm = _positive(tags.get(tag.FocalLength))
        pixels_per_unit = _positive(tags.get(tag.FocalPlaneXResolution))
        mm_per_unit = _MM_PER_UNIT.get(tags.get(tag.FocalPlaneResolutionUnit, 2))
        if not (focal_mm and pixels_per_unit and mm_per_unit):
            return None
        # The pitch counts the pixels of the photo as taken, which a resized copy may still carry.
        taken = [_positive(tags.get(name)) for name in (tag.ExifImageWidth, tag.ExifImageHeight)]
        longer_mm = (max(taken) if all(taken) else longer) / pixels_per_unit * mm_per_unit
    fov_deg = math.degrees(2 * math.atan(longer_mm / (2 * focal_mm)))
    return fov_deg if FOV_DEG_MIN <= fov_deg <= FOV_DEG_MAX else None


def _positive(value: object) -> float | None:
    """Read an EXIF number: a finite float above 0, or None for anything else a file may hold."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
