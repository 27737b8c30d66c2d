"""Uploads for tests, good and bad, and how their refusal and their memory are looked at."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointdit_core.decoding import InputError

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
