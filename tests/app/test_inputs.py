"""Uploads: every bit kept, every picture upright, every refusal one plain sentence, nothing decoded unmeasured."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from app import inputs
from app.decoding import MAX_FILE_BYTES
from app.inputs import LINEAR, NEAR_IS_BRIGHT, NEAR_IS_DARK, RELATIVE, InputError
from jointdit_core.geometry.disparity import from_uint16, to_uint16

RNG = np.random.default_rng(5)
RAMP16 = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def corners(height=48, width=64):
    """A picture whose corners tell how it was turned: red, green over blue, white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    half_y, half_x = height // 2, width // 2
    pixels[:half_y, :half_x, 0] = 255
    pixels[:half_y, half_x:, 1] = 255
    pixels[half_y:, :half_x, 2] = 255
    pixels[half_y:, half_x:] = 255
    return Image.fromarray(pixels)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, bit_depth, color_type, rows):
    """A PNG written by hand, so that its header may claim anything."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_claiming(shape, descr="<f4", data=b"\0" * 64):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def upload(tmp_path, data, name="upload.png"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refused(function, *arguments):
    """The sentence with which a call is refused, after checking that it is one and gives nothing away."""
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        function(*arguments)
    sentence = str(caught.value)
    assert re.fullmatch(r"[A-Z][^\n\\]{10,200}\.", sentence), sentence
    assert "/" not in sentence and "Error" not in sentence and "Traceback" not in sentence, sentence
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


# Pictures


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_pictures_come_through_exactly(tmp_path, kind):
    pixels = RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))
    uploaded = inputs.read_image(upload(tmp_path, data, "named.txt"))
    assert uploaded.image.mode == "RGB" and uploaded.fov_deg is None
    np.testing.assert_array_equal(np.asarray(uploaded.image), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(tmp_path, kind, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the tag asks to be undone
    stored = corners() if orientation == 1 else corners().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    read = inputs.read_image(upload(tmp_path, encoded(stored, kind, exif=exif))).image
    assert read.size == (64, 48)
    assert np.abs(np.asarray(read, int) - np.asarray(corners(), int)).mean() < 10
    assert not read.getexif() and not read.info


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_tells_the_camera_and_does_no_harm_when_broken(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    data = encoded(corners(), "JPEG", exif=exif)
    assert 60 < inputs.read_image(upload(tmp_path, data)).fov_deg < 75
    broken = data.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f").replace(
        b"MM\0*\0\0\0\x08", b"MM\0*\x7f\xff\xff\xff"
    )
    assert broken != data
    assert inputs.read_image(upload(tmp_path, broken)).fov_deg is None


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
    read = inputs.read_image(upload(tmp_path, data)).image
    assert (read.mode, read.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(read, int) - color).max() <= 3


def test_strips_join_without_a_seam(tmp_path):
    pixels = np.concatenate([RNG.integers(0, 256, (600, 80, 3)), np.full((600, 80, 1), 255)], axis=-1).astype(np.uint8)
    read = inputs.read_image(upload(tmp_path, encoded(Image.fromarray(pixels), "PNG"))).image
    np.testing.assert_array_equal(np.asarray(read), pixels[..., :3])


def test_colour_profiles_become_srgb(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.asarray(corners())
    for profile in (srgb, lab, b"no profile at all"):
        read = inputs.read_image(upload(tmp_path, encoded(corners(), "PNG", icc_profile=profile))).image
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
    read = inputs.read_image(upload(tmp_path, encoded(red, "PNG", icc_profile=swapped))).image
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
    assert re.search(words, refused(inputs.read_image, upload(tmp_path, data)))


def test_missing_files_are_refused_in_a_sentence(tmp_path):
    assert "choose a picture" in refused(inputs.read_image, None)
    assert "choose a depth map" in refused(inputs.read_depth, None, RELATIVE, NEAR_IS_BRIGHT)
    for gone in (tmp_path / "gone.png", tmp_path, "a\0b"):
        assert "upload it again" in refused(inputs.read_image, gone)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_never_raise_anything_else(tmp_path, kind):
    whole = encoded(NOISE.resize((32, 24)), kind)
    for _ in range(60):
        data = bytearray(whole)
        for at in RNG.integers(0, len(data), 4):
            data[at] = RNG.integers(0, 256)
        path = upload(tmp_path, bytes(data[: RNG.integers(1, len(data) + 1)]))
        try:
            assert inputs.read_image(path).image.mode == "RGB"
        except InputError:
            pass


def peak_rise(function, *arguments):
    """Bytes by which a call lifts this process's peak of resident memory (Linux counts it)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of memory cannot be reset here")

    def resident(name):
        return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

    before = resident("VmRSS")
    function(*arguments)
    return resident("VmHWM") - before


def test_huge_claims_are_refused_before_anything_is_set_aside(tmp_path):
    def refuse_all():
        for name, data, words in bad_pictures():
            if re.search("mega|tera", name) and "no " not in name:
                assert "megapixels" in refused(inputs.read_image, upload(tmp_path, data)), words
        for shape in ((400_000, 200_000), (6000, 6000)):
            refused(inputs.read_depth, upload(tmp_path, npy_claiming(shape)), RELATIVE, NEAR_IS_BRIGHT)

    refused(inputs.read_image, upload(tmp_path, b"warm up"))
    assert peak_rise(refuse_all) < 100e6


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_largest_picture_stays_within_memory(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = upload(
        tmp_path, encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 128)), "PNG", exif=exif, compress_level=1)
    )
    assert peak_rise(inputs.read_image, path) < 300e6


@pytest.mark.parametrize("polarity", [NEAR_IS_BRIGHT, NEAR_IS_DARK])
def test_the_largest_depth_map_stays_within_memory(tmp_path, polarity):
    values = np.zeros((5000, 5000), np.uint16) + np.arange(1, 5001, dtype=np.uint16)
    path = upload(tmp_path, encoded(Image.fromarray(values), "PNG", compress_level=1))
    assert peak_rise(inputs.read_depth, path, LINEAR, polarity) < 300e6


# Depth maps


def test_16_bit_ramps_survive_exactly(tmp_path):
    for data in (encoded(Image.fromarray(RAMP16), "PNG"), npy(RAMP16), npy(from_uint16(RAMP16))):
        disparity = inputs.read_depth(upload(tmp_path, data), RELATIVE, NEAR_IS_BRIGHT)
        assert disparity.dtype == np.float32
        np.testing.assert_array_equal(to_uint16(disparity), RAMP16)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_gray_pngs_of_every_mode_are_read(tmp_path, mode):
    levels = RNG.permutation(256).astype(np.uint8).reshape(16, 16)
    gray = Image.fromarray(levels)
    if mode == "P":
        gray.putpalette([c for c in range(256) for _ in range(3)])
    image = gray if mode in ("L", "P") else gray.convert(mode)
    disparity = inputs.read_depth(upload(tmp_path, encoded(image, "PNG")), RELATIVE, NEAR_IS_BRIGHT)
    np.testing.assert_array_equal(np.rint(disparity * 255), levels)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "|i1", "<i4", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number_type_is_read(tmp_path, dtype, order):
    values = np.asarray(np.arange(20 * 16).reshape(20, 16) % 97 + 1, dtype, order=order)
    for array in (values, values[None], values[..., None]):
        disparity = inputs.read_depth(upload(tmp_path, npy(array)), RELATIVE, NEAR_IS_BRIGHT)
        np.testing.assert_allclose(disparity, (values.astype(np.float64) - 1) / 96, atol=1e-6)
        assert disparity.flags.c_contiguous and disparity.dtype.isnative


def true_disparity(depth):
    inverse = 1 / depth.astype(np.float64)
    return (inverse - inverse.min()) / np.ptp(inverse)


def test_kind_and_polarity_mean_what_they_say(tmp_path):
    values = RNG.integers(1, 5000, (16, 32)).astype(np.uint16)
    values[0, :2] = 1, 4999
    path = upload(tmp_path, encoded(Image.fromarray(values), "PNG"))
    plain = (values - 1) / 4998
    expected = {
        (RELATIVE, NEAR_IS_BRIGHT): plain,
        (RELATIVE, NEAR_IS_DARK): 1 - plain,
        (LINEAR, NEAR_IS_DARK): true_disparity(values),
        (LINEAR, NEAR_IS_BRIGHT): true_disparity(8 - 7 * plain),  # the far end 8 times as far as the near end
    }
    for (kind, polarity), disparity in expected.items():
        np.testing.assert_allclose(inputs.read_depth(path, kind, polarity), disparity, atol=1e-5)


def test_infinite_distance_is_sky(tmp_path):
    depth = RNG.uniform(1, 9, (16, 16)).astype(np.float32)
    depth[:4] = np.inf
    disparity = inputs.read_depth(upload(tmp_path, npy(depth)), LINEAR, NEAR_IS_DARK)
    assert (disparity[:4] == 0).all() and disparity[4:].min() > 0 and disparity.max() == 1


def floats(value=None, at=(3, 3)):
    values = RNG.uniform(1, 2, (16, 20)).astype(np.float32)
    if value is not None:
        values[at] = value
    return values


def bad_depths():
    bright = (RELATIVE, NEAR_IS_BRIGHT)
    metric = (LINEAR, NEAR_IS_DARK)
    gray16 = encoded(Image.fromarray(RAMP16), "PNG")
    yield "jpeg", encoded(corners(), "JPEG"), bright, "gray PNG .* or an NPY"
    yield "exr", b"\x76\x2f\x31\x01" + b"\0" * 99, bright, "EXR files are not read"
    yield "npz", zip_bomb(), bright, "neither"
    yield "coloured", encoded(corners(), "PNG"), bright, "coloured"
    yield "transparent", encoded(Image.new("LA", (20, 20), (9, 9)), "PNG"), bright, "transparent"
    yield "16-bit colour", png(16, 16, 16, 2, (b"\0" + b"\1" * 96) * 16), bright, "single gray channel"
    yield "16-bit gray with alpha", png(16, 16, 16, 4, (b"\0" + b"\1" * 64) * 16), bright, "single gray channel"
    yield "cut png", gray16[:300], bright, "damaged"
    yield "169 megapixel png", png(13000, 13000, 16, 0, b"\0"), bright, "megapixels"
    yield "constant png", encoded(Image.new("L", (20, 20), 7), "PNG"), bright, "same value everywhere"
    yield "constant distance", npy(np.full((16, 16), 3.5)), metric, "same value everywhere"
    yield "all sky", npy(np.full((16, 16), np.inf)), metric, "same value everywhere"
    yield "nan", npy(floats(np.nan)), bright, "NaN"
    yield "nan distance", npy(floats(np.nan)), metric, "NaN"
    yield "nan and sky", npy(np.where(floats() > 1.5, np.nan, np.inf)), metric, "NaN"
    yield "infinite disparity", npy(floats(np.inf)), bright, "infinite"
    yield "minus infinite disparity", npy(floats(-np.inf)), bright, "infinite"
    yield "infinite inverted depth", npy(floats(np.inf)), (LINEAR, NEAR_IS_BRIGHT), "infinite"
    yield "negative distance", npy(floats(-0.5)), metric, "negative"
    yield "zero distance", npy(floats(0)), metric, "distances of 0"
    yield "zero in a metric png", gray16, metric, "distances of 0"
    yield "denormal distance", npy(floats(1e-45)), metric, "too large or too small"
    yield "huge range", npy(np.where(floats() > 1.5, np.float32(3e38), np.float32(-3e38))), bright, "too large"
    yield "pickle", npy(np.full((16, 16), "x", object), allow_pickle=True), bright, "plain numbers"
    yield "text array", npy(np.full((16, 16), "x")), bright, "plain numbers"
    yield "complex", npy(np.full((16, 16), 1j)), bright, "plain numbers"
    yield "yes or no", npy(np.eye(16, dtype=bool)), bright, "plain numbers"
    yield "records", npy(np.zeros((16, 16), "f4,f4")), bright, "plain numbers"
    yield "long doubles", npy(np.ones((16, 16), np.longdouble)), bright, "plain numbers"
    yield "one axis", npy(np.arange(256.0)), bright, "1 axes"
    yield "colour npy", npy(np.zeros((16, 16, 3))), bright, "3 axes"
    yield "no axis", npy(np.array(3.0)), bright, "0 axes"
    yield "tiny npy", npy(np.zeros((4, 400))), bright, "each side needs"
    yield "thin npy", npy(np.zeros((16, 400))), bright, "8 times"
    yield "298 GiB", npy_claiming((400_000, 200_000)), bright, "megapixels"
    yield "beyond all counting", npy_claiming((10**30, 10**30)), bright, "megapixels"
    yield "less than nothing", npy_claiming((-100, -100)), bright, "each side needs"
    yield "shape of words", npy_claiming(("a", "b")), bright, "header"
    yield "unknown type", npy_claiming((16, 16), descr="<z9"), bright, "header"
    yield "short npy", npy(floats())[:-1], bright, "cut short"
    yield "long npy", npy(floats()) + b"\0", bright, "longer"
    yield "npy cut in its header", npy(floats())[:40], bright, "header"
    yield "npy of nothing but its start", b"\x93NUMPY", bright, "header"
    yield "npy version 9", b"\x93NUMPY\x09\x00" + npy(floats())[8:], bright, "header"
    yield (
        "code for a header",
        b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').abort()".ljust(32) + b"\0" * 99,
        bright,
        "header",
    )


def zip_bomb():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, depth=np.zeros((3000, 3000), np.uint8))
    return buffer.getvalue()


@pytest.mark.parametrize(("data", "meaning", "words"), [pytest.param(*rest, id=name) for name, *rest in bad_depths()])
def test_bad_depth_maps_are_refused_in_a_sentence(tmp_path, data, meaning, words):
    assert re.search(words, refused(inputs.read_depth, upload(tmp_path, data, "depth.npy"), *meaning))


def test_kind_and_polarity_are_never_guessed(tmp_path):
    path = upload(tmp_path, encoded(Image.fromarray(RAMP16), "PNG"))
    assert "must be one of" in refused(inputs.read_depth, path, "", NEAR_IS_BRIGHT)
    assert "must be one of" in refused(inputs.read_depth, path, RELATIVE, None)


# Words and numbers


def test_prompts_become_one_clean_line():
    assert (
        inputs.check_prompt("  a red\tball,\r\n left\x00 of\x1b[31m \ud800a cube ") == "a red ball, left of[31m a cube"
    )
    assert inputs.check_prompt("ein Würfel 🎲 赤い") == "ein Würfel 🎲 赤い"
    assert inputs.check_prompt(None, required=False) == inputs.check_prompt(" \n", required=False) == ""
    assert len(inputs.check_prompt("a" * 1000)) == 1000


@pytest.mark.parametrize("text", [None, "", "  \n\t", "\x00\x07"])
def test_empty_prompts_are_refused(text):
    assert refused(inputs.check_prompt, text) == "Please type a prompt first."


def test_long_and_odd_prompts_are_refused():
    assert refused(inputs.check_prompt, "a" * 1001) == "The prompt has 1001 characters; at most 1000 are allowed."
    assert "must be text" in refused(inputs.check_prompt, ["a"])


def test_good_numbers_come_back_in_their_type():
    assert inputs.check_seed(7.0) == 7 and isinstance(inputs.check_seed(7.0), int)
    assert inputs.check_seed(2**32 - 1) == 2**32 - 1
    assert inputs.check_steps(1) == 1 and inputs.check_guidance(3) == 3.0
    assert isinstance(inputs.check_guidance(3), float)
    assert inputs.check_number("Field of view", 5, 5, 150) == 5


@pytest.mark.parametrize("value", [None, "7", float("nan"), float("inf"), -1, 2**32, 0.5, True, [1], 10**400])
def test_bad_seeds_are_refused(value):
    assert refused(inputs.check_seed, value) == "The seed must be a whole number from 0 to 4294967295."


def test_bad_numbers_are_refused():
    assert refused(inputs.check_steps, 0) == "The number of steps must be a whole number from 1 to 100."
    assert refused(inputs.check_steps, 51, 50).endswith("from 1 to 50.")
    assert refused(inputs.check_guidance, 21) == "The guidance must be a number from 0 to 20."
    assert refused(inputs.check_guidance, float("nan"))
