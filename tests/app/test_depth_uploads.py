"""Depth maps: every bit kept, meaning asked for, every refusal one plain sentence."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from jointdit_core import reading
from jointdit_core.geometry.disparity import from_uint16, to_uint16
from jointdit_core.reading import LINEAR, NEAR_IS_BRIGHT, NEAR_IS_DARK, RELATIVE
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


@pytest.mark.parametrize("polarity", [NEAR_IS_BRIGHT, NEAR_IS_DARK])
def test_the_largest_depth_map_stays_within_memory(tmp_path, polarity):
    values = np.zeros((5000, 5000), np.uint16) + np.arange(1, 5001, dtype=np.uint16)
    path = upload(tmp_path, encoded(Image.fromarray(values), "PNG", compress_level=1))
    assert peak_rise(reading.read_depth, path, LINEAR, polarity) < 300e6


def test_16_bit_ramps_survive_exactly(tmp_path):
    for data in (encoded(Image.fromarray(RAMP16), "PNG"), npy(RAMP16), npy(from_uint16(RAMP16))):
        disparity = reading.read_depth(upload(tmp_path, data), RELATIVE, NEAR_IS_BRIGHT)
        assert disparity.dtype == np.float32
        np.testing.assert_array_equal(to_uint16(disparity), RAMP16)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_gray_pngs_of_every_mode_are_read(tmp_path, mode):
    levels = RNG.permutation(256).astype(np.uint8).reshape(16, 16)
    gray = Image.fromarray(levels)
    if mode == "P":
        gray.putpalette([c for c in range(256) for _ in range(3)])
    image = gray if mode in ("L", "P") else gray.convert(mode)
    disparity = reading.read_depth(upload(tmp_path, encoded(image, "PNG")), RELATIVE, NEAR_IS_BRIGHT)
    np.testing.assert_array_equal(np.rint(disparity * 255), levels)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "|i1", "<i4", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number_type_is_read(tmp_path, dtype, order):
    values = np.asarray(np.arange(20 * 16).reshape(20, 16) % 97 + 1, dtype, order=order)
    for array in (values, values[None], values[..., None]):
        disparity = reading.read_depth(upload(tmp_path, npy(array)), RELATIVE, NEAR_IS_BRIGHT)
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
        np.testing.assert_allclose(reading.read_depth(path, kind, polarity), disparity, atol=1e-5)


def test_infinite_distance_is_sky(tmp_path):
    depth = RNG.uniform(1, 9, (16, 16)).astype(np.float32)
    depth[:4] = np.inf
    disparity = reading.read_depth(upload(tmp_path, npy(depth)), LINEAR, NEAR_IS_DARK)
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
    assert re.search(words, refused(reading.read_depth, upload(tmp_path, data, "depth.npy"), *meaning))


def test_kind_and_polarity_are_never_guessed(tmp_path):
    path = upload(tmp_path, encoded(Image.fromarray(RAMP16), "PNG"))
    assert "must be one of" in refused(reading.read_depth, path, "", NEAR_IS_BRIGHT)
    assert "must be one of" in refused(reading.read_depth, path, RELATIVE, None)
