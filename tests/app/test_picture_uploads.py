"""Pictures: every one upright, every refusal one plain sentence, nothing decoded unmeasured."""

import base64
import re
import struct
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import ExifTags, Image, ImageCms

from app.tabs import leave_closed
from jointdit_core import reading
from jointdit_core.decoding import MAX_FILE_BYTES, InputError
from jointdit_core.reading import NEAR_IS_BRIGHT, RELATIVE
from tests.app.uploads import (
    RAMP16,
    RNG,
    corners,
    encoded,
    npy,
    npy_claiming,
    peak_rise,
    png,
    refused,
    upload,
)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_pictures_come_through_exactly(tmp_path, kind):
    pixels = RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))
    uploaded = reading.read_image(upload(tmp_path, data, "named.txt"))
    assert uploaded.image.mode == "RGB" and uploaded.fov_deg is None
    np.testing.assert_array_equal(np.asarray(uploaded.image), pixels)


def test_a_picture_inside_a_request_and_one_that_nobody_can_read_are_kept_as_they_came():
    with gr.Blocks():
        image = gr.Image(type="filepath", image_mode=None)
    leave_closed(image)
    content = b"no picture at all"
    inside = image.preprocess(ImageData(url=f"data:image/png;base64,{base64.b64encode(content).decode()}"))
    assert Path(inside).read_bytes() == content
    assert image.preprocess(ImageData(path="/tmp/any.png")) == "/tmp/any.png" and image.preprocess(None) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(tmp_path, kind, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the tag asks to be undone
    stored = corners() if orientation == 1 else corners().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    read = reading.read_image(upload(tmp_path, encoded(stored, kind, exif=exif))).image
    assert read.size == (64, 48)
    assert np.abs(np.asarray(read, int) - np.asarray(corners(), int)).mean() < 10
    assert not read.getexif() and not read.info


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_tells_the_camera_and_does_no_harm_when_broken(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    data = encoded(corners(), "JPEG", exif=exif)
    assert 60 < reading.read_image(upload(tmp_path, data)).fov_deg < 75
    broken = data.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f").replace(
        b"MM\0*\0\0\0\x08", b"MM\0*\x7f\xff\xff\xff"
    )
    assert broken != data
    assert reading.read_image(upload(tmp_path, broken)).fov_deg is None


def modes():
    """Files of one light orange, (255, 200, 100), in every mode a picture may come in, with the colour to expect."""
    size, orange = (40, 30), (255, 200, 100)
    rgb = Image.new("RGB", size, orange)
    pale = (255, 228, 178)  # half transparent over white
    yield "palette", encoded(rgb.quantize(4), "PNG"), orange
    yield "palette with a clear colour", encoded(Image.new("P", size, 0), "PNG", transparency=0), (255, 255, 255)
    yield "rgba", encoded(Image.new("RGBA", size, (*orange, 128)), "PNG"), pale
    yield "rgba webp", encoded(Image.new("RGBA", size, (*orange, 128)), "WEBP", lossless=True), pale
    yield "gray", encoded(Image.new("L", size, 99), "PNG"), (99, 99, 99)
    yield "gray with alpha", encoded(Image.new("LA", size, (0, 51)), "PNG"), (204, 204, 204)
    yield "rgb with a clear colour", encoded(rgb, "PNG", transparency=orange), (255, 255, 255)
    yield "gray jpeg", encoded(Image.new("L", size, 99), "JPEG"), (99, 99, 99)
    yield "cmyk jpeg", encoded(Image.new("CMYK", size, (0, 55, 155, 0)), "JPEG"), orange
    yield "one bit", encoded(Image.new("1", size, 1), "PNG"), (255, 255, 255)
    yield "16-bit gray", encoded(Image.fromarray(np.full((30, 40), 99 * 257, np.uint16)), "PNG"), (99, 99, 99)
    row = b"\0" + struct.pack(">HHH", *(257 * c for c in orange)) * 40
    yield "16-bit colour", png(40, 30, 16, 2, row * 30), orange
    frames = [rgb, Image.new("RGB", size, "black")]
    yield "animated png", encoded(rgb, "PNG", save_all=True, append_images=frames[1:]), orange
    yield "animated webp", encoded(rgb, "WEBP", save_all=True, append_images=frames[1:], lossless=True), orange


@pytest.mark.parametrize(("data", "color"), [pytest.param(*rest, id=name) for name, *rest in modes()])
def test_every_mode_becomes_rgb_over_white(tmp_path, data, color):
    read = reading.read_image(upload(tmp_path, data)).image
    assert (read.mode, read.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(read, int) - color).max() <= 3


def test_strips_join_without_a_seam(tmp_path):
    pixels = np.concatenate([RNG.integers(0, 256, (600, 80, 3)), np.full((600, 80, 1), 255)], axis=-1).astype(np.uint8)
    read = reading.read_image(upload(tmp_path, encoded(Image.fromarray(pixels), "PNG"))).image
    np.testing.assert_array_equal(np.asarray(read), pixels[..., :3])


def test_colour_profiles_become_srgb(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.asarray(corners())
    for profile in (srgb, lab, b"no profile at all"):
        read = reading.read_image(upload(tmp_path, encoded(corners(), "PNG", icc_profile=profile))).image
        if profile is not lab:
            np.testing.assert_array_equal(np.asarray(read), pixels)
        assert "icc_profile" not in read.info


def test_a_wide_gamut_profile_changes_the_colours(tmp_path):
    # sRGB's profile with red and green primaries swapped: red pixels must come out green.
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", data, 128)[0]
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    data[entries[b"rXYZ"] : entries[b"rXYZ"] + 4], data[entries[b"gXYZ"] : entries[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    swapped = bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red = Image.new("RGB", (20, 20), (255, 0, 0))
    read = reading.read_image(upload(tmp_path, encoded(red, "PNG", icc_profile=swapped))).image
    assert np.abs(np.asarray(read, int) - (0, 255, 0)).max() <= 2


NOISE = Image.fromarray(RNG.integers(0, 256, (100, 120, 3), dtype=np.uint8))


def bad_pictures():
    whole_png, whole_jpeg, whole_webp = (encoded(NOISE, kind) for kind in ("PNG", "JPEG", "WEBP"))
    yield "empty", b"", "empty"
    yield "text", b"hello " * 100, "not a PNG, JPEG or WebP"
    yield "tiff named png", encoded(corners(), "TIFF"), "not a PNG"
    yield "gif", encoded(corners().quantize(8), "GIF"), "not a PNG"
    yield "bmp", encoded(corners(), "BMP"), "not a PNG"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a PNG"
    yield "npy", npy(RAMP16), "not a PNG"
    yield "cut png", whole_png[:20000], "damaged"
    yield "png cut in its header", whole_png[:20], "damaged"
    yield "cut jpeg", whole_jpeg[: len(whole_jpeg) // 2], "damaged"
    yield "jpeg of nothing but its start", whole_jpeg[:4], "damaged"
    yield "cut webp", whole_webp[: len(whole_webp) // 2], "damaged"
    yield "webp of nothing but its start", whole_webp[:30], "damaged"
    yield "png with a broken checksum", whole_png[:5000] + b"\0\0\0\0" + whole_png[5004:], "damaged"
    yield "png without rows", png(64, 64, 8, 2, b""), "damaged"
    yield "169 megapixels", png(13000, 13000, 8, 0, b"\0"), "megapixels"
    yield "3600 megapixels", png(60000, 60000, 8, 2, b"\0"), "megapixels"
    yield "no megapixels", png(0, 0, 8, 2, b"\0"), "(damaged|at least 16)"
    yield "jpeg of 1600 megapixels", jpeg_claiming(40000, 40000), "megapixels"
    yield "webp of 268 megapixels", webp_claiming(16383, 16383), "megapixels"
    yield "webp canvas of 281 terapixels", webp_canvas_claiming(2**24, 2**24), "megapixels"
    yield "tiny", encoded(Image.new("RGB", (15, 90)), "PNG"), "15 x 90 pixels; each side needs at least 16"
    yield "thin", encoded(Image.new("RGB", (1000, 100)), "PNG"), "8 times"
    yield "too many bytes", whole_png + b"\0" * (MAX_FILE_BYTES - len(whole_png) + 1), "40 MB are allowed"


def jpeg_claiming(width, height):
    data = encoded(corners(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp_claiming(width, height):
    data = encoded(corners(), "WEBP", lossless=True)
    bits = int.from_bytes(data[21:25], "little") & ~0xFFFFFFF | (width - 1) | (height - 1) << 14
    return data[:21] + bits.to_bytes(4, "little") + data[25:]


def webp_canvas_claiming(width, height):
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + encoded(corners(), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize(("data", "words"), [pytest.param(*rest, id=name) for name, *rest in bad_pictures()])
def test_bad_pictures_are_refused_in_a_sentence(tmp_path, data, words):
    assert re.search(words, refused(reading.read_image, upload(tmp_path, data)))


def test_missing_files_are_refused_in_a_sentence(tmp_path):
    assert "choose a picture" in refused(reading.read_image, None)
    assert "choose a depth map" in refused(reading.read_depth, None, RELATIVE, NEAR_IS_BRIGHT)
    for gone in (tmp_path / "gone.png", tmp_path, "a\0b"):
        assert "choose it again" in refused(reading.read_image, gone)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_never_raise_anything_else(tmp_path, kind):
    whole = encoded(NOISE.resize((32, 24)), kind)
    for _ in range(60):
        data = bytearray(whole)
        for at in RNG.integers(0, len(data), 4):
            data[at] = RNG.integers(0, 256)
        path = upload(tmp_path, bytes(data[: RNG.integers(1, len(data) + 1)]))
        try:
            assert reading.read_image(path).image.mode == "RGB"
        except InputError:
            pass


def test_huge_claims_are_refused_before_anything_is_set_aside(tmp_path):
    def refuse_all():
        for name, data, words in bad_pictures():
            if re.search("mega|tera", name) and "no " not in name:
                assert "megapixels" in refused(reading.read_image, upload(tmp_path, data)), words
        for shape in ((400_000, 200_000), (6000, 6000)):
            refused(reading.read_depth, upload(tmp_path, npy_claiming(shape)), RELATIVE, NEAR_IS_BRIGHT)

    refused(reading.read_image, upload(tmp_path, b"warm up"))
    assert peak_rise(refuse_all) < 100e6


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_largest_picture_stays_within_memory(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = upload(
        tmp_path, encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 128)), "PNG", exif=exif, compress_level=1)
    )
    assert peak_rise(reading.read_image, path) < 300e6
