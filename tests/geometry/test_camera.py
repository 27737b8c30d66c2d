"""The camera: field of view to focal length and back, and what EXIF tells."""

import io
import math

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from jointdit_core.geometry.camera import fov_from_exif, intrinsics

TAG = ExifTags.Base


def photo(size=(60, 40), **tags):
    """Return an image that went through a JPEG file with the given EXIF tags."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({TAG[name]: value for name, value in tags.items()})
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG", exif=exif)
    return Image.open(buffer)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640)])
def test_field_of_view_spans_the_longer_side(width, height):
    camera = intrinsics(width, height, 90)
    assert camera.f_px == pytest.approx(320)
    assert (camera.cx, camera.cy) == (width / 2, height / 2)
    assert camera.fov_deg == pytest.approx(90)


@pytest.mark.parametrize("fov_deg", [4.9, 150.1, -60, float("nan"), float("inf")])
def test_impossible_field_of_view_is_named(fov_deg):
    with pytest.raises(ValueError, match="fov_deg: got"):
        intrinsics(64, 64, fov_deg)


def test_empty_image_is_named():
    with pytest.raises(ValueError, match="got 0 x 5"):
        intrinsics(0, 5)


@pytest.mark.parametrize("size", [(60, 40), (40, 60)])
def test_exif_film_focal_length_gives_the_angle(size):
    fov_deg = fov_from_exif(photo(size, FocalLengthIn35mmFilm=36))
    assert fov_deg == pytest.approx(math.degrees(2 * math.atan(0.5)), abs=1e-3)  # 36 mm film, 36 mm lens


def test_exif_sensor_pitch_gives_the_angle_of_a_resized_photo():
    # A sensor of 6000 x 4000 px on 36 x 24 mm behind a 50 mm lens, shrunk to 60 x 40 px.
    common = {"FocalLength": IFDRational(50), "ExifImageWidth": 6000, "ExifImageHeight": 4000}
    expected = math.degrees(2 * math.atan(36 / 100))
    millimetres = photo(FocalPlaneXResolution=IFDRational(6000, 36), FocalPlaneResolutionUnit=4, **common)
    centimetres = photo(FocalPlaneXResolution=IFDRational(60000, 36), FocalPlaneResolutionUnit=3, **common)
    assert fov_from_exif(millimetres) == pytest.approx(expected, abs=1e-3)
    assert fov_from_exif(centimetres) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FocalLength": IFDRational(50)},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLengthIn35mmFilm": 60000},
        {"FocalLength": IFDRational(0, 0), "FocalPlaneXResolution": IFDRational(1, 0)},
        {"FocalLength": IFDRational(50), "FocalPlaneXResolution": IFDRational(100), "FocalPlaneResolutionUnit": 9},
    ],
)
def test_exif_without_a_plausible_focal_length_gives_none(tags):
    assert fov_from_exif(photo(**tags)) is None


def test_image_without_exif_gives_none():
    assert fov_from_exif(Image.new("RGB", (8, 8))) is None
