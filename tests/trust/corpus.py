"""Bad, odd and hostile inputs, all made by code; each says how it must end."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from jointdit_core.reading import LINEAR, NEAR_IS_BRIGHT, NEAR_IS_DARK, RELATIVE

REFUSED, DONE = "refused", "done"


@dataclass(frozen=True)
class File:
    """A file for one of the two tasks that take one."""

    name: str
    task: str
    content: bytes
    ends: str = REFUSED
    file_name: str = "file.png"
    kind: str = RELATIVE
    polarity: str = NEAR_IS_BRIGHT

    def data(self, file: Any) -> list:
        """The endpoint's arguments around an uploaded file; one step."""
        if self.task == "depth_estimation":
            return [file, 1, 1, 0]
        return ["a red ball", file, self.kind, self.polarity, 1, 1, 1.0, 0]


@dataclass(frozen=True)
class Call:
    """Arguments that are wrong by themselves."""

    name: str
    task: str
    data: list


def noise(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A picture of any mode."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode if mode != "P" else "RGB").convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int = 8, color: int = 2, data: bytes = b"", *more: bytes) -> bytes:
    """A PNG that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def npy(array: np.ndarray) -> bytes:
    """The bytes of an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """An NPY file with any header."""
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text.encode("latin-1") + data


def ramp(height: int = 32, width: int = 48, dtype: Any = np.float32) -> np.ndarray:
    """A depth map without a fault."""
    return np.linspace(1, 100, height * width).reshape(height, width).astype(dtype)


def pictures() -> Iterator[File]:
    """Files for depth estimation."""
    good, photo = saved(noise()), saved(noise(200, 120), "JPEG")
    webp = saved(noise(), "WEBP")
    bomb = zlib.compress(bytes(3 * 13000 + 1) * 400, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [noise(), noise().rotate(180)]

    def bad(name: str, content: bytes, file_name: str = "file.png") -> File:
        return File(f"picture: {name}", "depth_estimation", content, REFUSED, file_name)

    def fine(name: str, content: bytes, file_name: str = "file.png") -> File:
        return File(f"picture: {name}", "depth_estimation", content, DONE, file_name)

    yield bad("empty", b"")
    yield bad("one byte", b"\x89")
    yield bad("text", b"not a picture")
    yield bad("HTML", b"<html><script>alert(1)</script></html>", "page.html")
    yield bad("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "file.svg")
    yield bad("SVG with an outside entity", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>')
    yield bad("GIF", saved(noise(mode="P"), "GIF"))
    yield bad("TIFF named PNG", saved(noise(), "TIFF"))
    yield bad("BMP", saved(noise(), "BMP"))
    yield bad("ICO", saved(noise(), "ICO"))
    yield bad("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    yield bad("PDF", b"%PDF-1.7\n")
    yield bad("ZIP", zip_bomb())
    yield bad("PNG magic and noise", b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    yield bad("PNG of its header only", good[:33])
    yield bad("PNG cut in the middle", good[: len(good) // 2])
    yield bad("PNG with a broken check sum", good[:29] + b"\0\0\0\0" + good[33:])
    yield bad("PNG of no size", png(0, 0))
    yield bad("PNG of one pixel", saved(noise(1, 1)))
    yield bad("PNG one row too low", saved(noise(48, 15)))
    yield bad("PNG strip", saved(noise(16 * 9, 16)))
    yield bad("PNG of 169 megapixels in 20 kB", png(13000, 13000, data=bomb))
    yield bad("PNG of 2^31 pixels a side", png(2**31 - 1, 2**31 - 1))
    yield bad(
        "PNG with a text bomb", png(64, 64, 8, 2, b"", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))))
    )
    yield bad("PNG of bit depth 3", png(64, 64, 3))
    yield bad("PNG of colour type 9", png(64, 64, 8, 9))
    yield bad("PNG with less data than pixels", png(64, 64, data=zlib.compress(b"\0" * 100)))
    yield bad("JPEG of two bytes", b"\xff\xd8\xff")
    yield bad("JPEG cut in the middle", photo[: len(photo) // 2])
    yield bad("JPEG that claims 65,500 pixels a side", resized_jpeg(photo, 65500, 65500))
    yield bad("JPEG with noise for data", photo[:300] + bytes(range(256)) * 2)
    yield bad("WebP cut in the middle", webp[: len(webp) // 2])
    yield bad("WebP that claims 16,383 pixels a side", b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0")
    yield bad("WebP of its head only", webp[:20])
    yield bad("NPY", npy(ramp()))
    yield bad("EXR", b"\x76\x2f\x31\x01" + bytes(64))
    yield fine("name that climbs", good, "../../../etc/passwd.png")
    yield fine("name in other scripts", good, "図—ä\u202egnp.png")
    yield fine("very long name", good, "x" * 240 + ".png")
    yield fine("JPEG named PNG", photo)
    yield fine("gray with alpha", saved(noise(mode="LA")))
    yield fine("RGBA", saved(noise(mode="RGBA")))
    yield fine("palette with transparency", saved(noise(mode="P"), transparency=0))
    yield fine("16 bits gray", saved(Image.fromarray(ramp(dtype=np.uint16))))
    yield fine("one bit", saved(noise(mode="1")))
    yield fine("CMYK JPEG", saved(noise(mode="CMYK"), "JPEG"))
    yield fine("progressive JPEG", saved(noise(), "JPEG", progressive=True))
    yield fine("JPEG turned by EXIF", saved(noise(), "JPEG", exif=exif))
    yield fine("JPEG with a broken EXIF block", saved(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    yield fine("PNG with a broken colour profile", saved(noise(), icc_profile=b"nonsense"))
    yield fine("PNG with a Lab profile", saved(noise(), icc_profile=lab_profile()))
    yield fine("animated PNG", saved(frames[0], save_all=True, append_images=frames[1:]))
    yield fine("animated WebP", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    yield fine("lossless WebP", saved(noise(), "WEBP", lossless=True))
    yield fine("just wide enough", saved(noise(128, 16)))


def zip_bomb() -> bytes:
    """10 MB of zeros in a few kB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    return buffer.getvalue()


def lab_profile() -> bytes:
    """A colour profile that does not belong to RGB pictures."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def resized_jpeg(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def depth_maps() -> Iterator[File]:
    """Files for depth-conditioned generation."""
    whole, flat = npy(ramp()), ramp()
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }\n"
    with_nan, with_inf, negative, with_zero = (ramp() for _ in range(4))
    with_nan[3, 4], with_inf[3, 4], negative[3, 4], with_zero[3, 4] = np.nan, np.inf, -1, 0
    npz = io.BytesIO()
    np.savez_compressed(npz, depth=np.zeros((3000, 3000)))
    colored = Image.merge("RGB", [*noise().split()])
    clear = noise(mode="LA")

    def bad(name: str, content: bytes, kind: str = RELATIVE, polarity: str = NEAR_IS_BRIGHT) -> File:
        file_name = "d.npy" if content.startswith(b"\x93NUMPY") else "d.png"
        return File(f"depth: {name}", "depth_to_image", content, REFUSED, file_name, kind, polarity)

    def fine(name: str, content: bytes, kind: str = RELATIVE, polarity: str = NEAR_IS_BRIGHT) -> File:
        file_name = "d.npy" if content.startswith(b"\x93NUMPY") else "d.png"
        return File(f"depth: {name}", "depth_to_image", content, DONE, file_name, kind, polarity)

    yield bad("empty", b"")
    yield bad("text", b"1 2 3\n4 5 6\n")
    yield bad("JPEG", saved(noise(mode="L"), "JPEG"))
    yield bad("coloured PNG", saved(colored))
    yield bad("partly transparent PNG", saved(clear))
    yield bad("PNG of the same value", saved(Image.new("L", (48, 32), 7)))
    yield bad("PNG cut in the middle", saved(noise(mode="L"))[:400])
    yield bad("16-bit PNG with three channels", png(48, 32, 16, 2))
    yield bad("NaN", npy(with_nan))
    yield bad("infinite disparity", npy(with_inf))
    yield bad("negative distance", npy(negative), LINEAR, NEAR_IS_DARK)
    yield bad("distance of 0", npy(with_zero), LINEAR, NEAR_IS_DARK)
    yield bad("the same value everywhere", npy(np.ones((32, 48))))
    yield bad("values at the end of float64", npy(np.where(ramp() > 50, 1.7e308, -1.7e308)))
    yield bad("pickled objects", npy(np.array([[print] * 48] * 32, dtype=object)))
    yield bad("records", npy(np.zeros((32, 48), dtype=[("a", "f4")])))
    yield bad("text array", npy(np.full((32, 48), "x")))
    yield bad("complex", npy(ramp() * 1j))
    yield bad("truth values", npy(ramp() > 50))
    yield bad("dates", npy(ramp().astype("datetime64[s]")))
    yield bad("extended precision", npy(ramp(dtype=np.longdouble)))
    yield bad("one axis", npy(flat.ravel()))
    yield bad("four axes", npy(flat[None, None]))
    yield bad("no axes", npy(np.float32(1)))
    yield bad("three channels", npy(np.stack([flat] * 3, -1)))
    yield bad("no rows", npy(np.zeros((0, 48))))
    yield bad("15 rows", npy(ramp(15, 48)))
    yield bad("strip", npy(ramp(16, 16 * 9)))
    yield bad("cut by 4 bytes", whole[:-4])
    yield bad("4 bytes too long", whole + bytes(4))
    yield bad("NPY of its magic only", b"\x93NUMPY")
    yield bad("NPY cut in its header", whole[:40])
    yield bad("298 GiB claimed", npy_header(shape % "(200000, 400000)"))
    yield bad("negative size", npy_header(shape % "(-32, 48)"))
    yield bad("sides that are no numbers", npy_header(shape % "('a', 'b')"))
    yield bad("header that is code", npy_header("__import__('os').system('true')\n"))
    yield bad("header of brackets", npy_header("(" * 60000))
    yield bad("version 9", npy_header(shape % "(32, 48)", bytes(6144), (9, 0)))
    yield bad("header of 4 GB claimed", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")
    yield bad("NPZ", npz.getvalue())
    yield bad("EXR", b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(100))
    yield fine("8-bit gray", saved(noise(mode="L")))
    yield fine("8-bit gray stored as RGB", saved(noise(mode="L").convert("RGB")))
    yield fine("16-bit ramp", saved(Image.fromarray(ramp(dtype=np.uint16))))
    yield fine("float16", npy(ramp(dtype=np.float16)))
    yield fine("float64 in Fortran's order", npy(np.asfortranarray(ramp(dtype=np.float64))))
    yield fine("big-endian", npy(ramp(dtype=">f4")))
    yield fine("int64", npy(ramp(dtype=np.int64)))
    yield fine("one channel", npy(ramp()[..., None]))
    yield fine("metric with infinite sky", npy(with_inf), LINEAR, NEAR_IS_DARK)


def calls() -> Iterator[Call]:
    """Wrong arguments, in a form that Gradio lets through."""
    text = {"prompt": "a red ball", "seed": 1, "steps": 1, "guidance": 1.0, "size": "256x256"}
    wrong: dict[str, list] = {
        "prompt": ["", " \t\n ", "x" * 5000, "\0\1\2"],
        "seed": [-1, 2**40, "abc", [1], {"x": 1}],
        "steps": [0, -3, 101, 10**9, None, "many", []],
        "guidance": [-0.1, 21, 1e308, "strong", None, {}],
        "size": ["", "1x1", "99999x99999", 7, ["256x256", "320x192"], "../x"],
    }
    for field, values in wrong.items():
        for value in values:
            yield Call(f"{field} = {value!r:.30}", "joint_generation", list({**text, field: value}.values()))
    yield Call("no arguments", "joint_generation", [])
    yield Call("no picture", "depth_estimation", [None, 1, 1, 0])
    yield Call("no depth map", "depth_to_image", ["a", None, RELATIVE, NEAR_IS_BRIGHT, 1, 1, 1.0, 0])
    for name, file in foreign_files().items():
        yield Call(f"picture = {name}", "depth_estimation", [file, 1, 1, 0])
        yield Call(f"depth = {name}", "depth_to_image", ["a", file, RELATIVE, NEAR_IS_BRIGHT, 1, 1, 1.0, 0])


def foreign_files() -> dict[str, Any]:
    """Files that were never uploaded."""
    meta = {"_type": "gradio.FileData"}
    paths = (
        "/etc/passwd",
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "//127.0.0.1/a.png",
        "\\\\server\\share\\a.png",
        "data:image/png;base64,AAAA",
        "gopher://x",
        "/proc/self/environ",
        "",
        "a\0b",
    )
    files: dict[str, Any] = {path: {"path": path, "meta": meta} for path in paths}
    files["address only"] = {"url": "http://127.0.0.1:1/a.png", "meta": meta}
    files["text"] = "/etc/passwd"
    files["number"] = 7
    files["list"] = [{"path": "/etc/passwd", "meta": meta}]
    files["path that is a list"] = {"path": ["/etc/passwd"], "meta": meta}
    return files
