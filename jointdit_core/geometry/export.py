"""Files for other programs, written whole or not at all; the only place where axes flip.

3D files are right-handed with x right, y up and z backward (glTF's axes), so they open upright: OpenCV's y and z change
sign, a half turn about x that keeps the winding of faces. Lengths are unit-free, the near plane at distance 1.

EXR is written by the format's own library, whose wheel is small and has no dependencies but numpy; GLB by trimesh.
"""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import OpenEXR
import trimesh
from PIL import Image

from . import digits
from .camera import Intrinsics
from .disparity import FAR_OVER_NEAR, check_disparity, disparity_to_depth, to_uint16
from .lift import Mesh, PointCloud

_TO_FILE_AXES = np.array([1, -1, -1], np.float32)
_AXES = "x right, y up, z backward; unit-free, camera at origin"
PNG_LEVEL = 2  # of zlib: a quarter of the usual level's time for a sixth more bytes
_UNLIT = "KHR_materials_unlit"  # the photo has its light already; lit viewers would shade it twice
_LINES = 1 << 16  # of text made at once: they stay within the processor's cache
_WEBP = {"quality": 80, "method": 2}  # slower methods save little


def write_png16(path: str | os.PathLike, disparity: np.ndarray) -> Path:
    """Write disparity as a 16-bit gray PNG, near = 65535.

    Args:
        path: file to write.
        disparity: float (H, W) in [0, 1].

    Returns:
        The written path.

    Raises:
        ValueError: see `check_disparity`.
    """
    buffer = io.BytesIO()
    Image.fromarray(to_uint16(disparity)).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return _write(path, buffer.getvalue())


def write_npy(path: str | os.PathLike, disparity: np.ndarray) -> Path:
    """Write disparity as a float32 NPY file, near = 1.

    Args:
        path: file to write.
        disparity: float (H, W) in [0, 1].

    Returns:
        The written path.

    Raises:
        ValueError: see `check_disparity`.
    """
    buffer = io.BytesIO()
    np.save(buffer, check_disparity(disparity), allow_pickle=False)
    return _write(path, buffer.getvalue())


def write_exr(path: str | os.PathLike, disparity: np.ndarray, far_over_near: float = FAR_OVER_NEAR) -> Path:
    """Write disparity and depth as an OpenEXR file of two float32 channels, ZIP-compressed without loss.

    Args:
        path: file to write.
        disparity: float (H, W) in [0, 1].
        far_over_near: depth of the far plane over that of the near plane, > 1.

    Returns:
        The written path. `Y` holds disparity, which viewers show as gray, near = 1; `Z` depth along the optical axis,
        unit-free, where compositors look for it.

    Raises:
        ValueError: see `check_disparity` and `check_far_over_near`.
    """
    channels = {"Y": check_disparity(disparity), "Z": disparity_to_depth(disparity, far_over_near)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    buffer = io.BytesIO()
    with OpenEXR.File(header, {name: np.ascontiguousarray(values) for name, values in channels.items()}) as file:
        file.write(buffer)
    return _write(path, buffer.getvalue())


def write_normals(path: str | os.PathLike, normals: np.ndarray) -> Path:
    """Write surface normals as an RGB PNG, the usual map: right is red, up is green, towards the viewer is blue.

    Args:
        path: file to write.
        normals: float (H, W, 3), unit vectors in OpenCV axes, see `surface_normals`.

    Returns:
        The written path.
    """
    levels = np.rint((normals * _TO_FILE_AXES + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return _write(path, buffer.getvalue())


def write_camera(path: str | os.PathLike, camera: Intrinsics, far_over_near: float) -> Path:
    """Write the camera that the 3D files were seen by as JSON.

    Args:
        path: file to write.
        camera: the pinhole.
        far_over_near: depth of the far plane over that of the near plane.

    Returns:
        The written path. `f_px`, `cx`, `cy` are in pixels of the picture, whose top left corner is (0, 0); in the axes
        of the 3D files the camera stands at the origin, unturned, as glTF's cameras do.
    """
    facts = asdict(camera) | {
        "fov_deg": camera.fov_deg,
        "fov_x_deg": math.degrees(2 * math.atan(camera.width / (2 * camera.f_px))),
        "fov_y_deg": math.degrees(2 * math.atan(camera.height / (2 * camera.f_px))),
        "near": 1.0,
        "far": float(far_over_near),
        "axes": _AXES,
        "camera_to_world": np.eye(4).tolist(),
    }
    return _write(path, (json.dumps(facts, indent=2) + "\n").encode("ascii"))


def write_ply(path: str | os.PathLike, cloud: PointCloud, normals: np.ndarray | None = None) -> Path:
    """Write a point cloud as binary little-endian PLY with colours.

    Args:
        path: file to write.
        cloud: the points, OpenCV axes.
        normals: float (H, W, 3) of the whole picture, see `surface_normals`, to write those of the points too; programs
            that make a surface of points ask for them.

    Returns:
        The written path.
    """
    fields = [("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)]
    names = {"xyz": "float x y z", "normal": "float nx ny nz", "rgb": "uchar red green blue"}
    if normals is None:
        del fields[1]
    vertices = np.empty(len(cloud.points), np.dtype(fields))
    vertices["xyz"] = cloud.points * _TO_FILE_AXES
    vertices["rgb"] = cloud.colors
    if normals is not None:
        x, y = cloud.pixel.T
        vertices["normal"] = normals[y, x] * _TO_FILE_AXES
    lines = ["ply", "format binary_little_endian 1.0", f"comment {_AXES}", f"element vertex {len(vertices)}"]
    for field, *_ in fields:
        kind, *columns = names[field].split()
        lines += [f"property {kind} {column}" for column in columns]
    return _write(path, "\n".join([*lines, "end_header\n"]).encode("ascii") + vertices.tobytes())


def write_obj(path: str | os.PathLike, mesh: Mesh, image: np.ndarray) -> tuple[Path, Path, Path]:
    """Write a mesh as Wavefront OBJ with its material and the picture as texture beside it.

    Args:
        path: file to write; the other two get its name with other endings.
        mesh: the surface, OpenCV axes.
        image: uint8 (H, W, 3) RGB or a PIL image, the picture that `mesh.uv` refers to.

    Returns:
        The written paths: OBJ, MTL, PNG. They must stay together.
    """
    path = Path(path)
    material, texture = path.with_suffix(".mtl"), path.with_suffix(".png")
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG", compress_level=PNG_LEVEL)
    _write(texture, buffer.getvalue())
    shading = f"newmtl photo\nKd 1 1 1\nillum 0\nmap_Kd {texture.name}\n"  # illum 0: colour as it is, without light
    _write(material, shading.encode())
    return _write(path, *_obj_text(mesh, material.name)), material, texture


def _obj_text(mesh: Mesh, material: str) -> Iterator[bytes]:
    """The lines of an OBJ file, part by part."""
    yield f"# {_AXES}\nmtllib {material}\nusemtl photo\n".encode()
    for prefix, rows in (("v", mesh.vertices * _TO_FILE_AXES), ("vt", _upwards(mesh.uv))):
        for first in range(0, len(rows), _LINES):
            columns = [(" ", digits.decimals(column)) for column in rows[first : first + _LINES].T]
            yield digits.lines(prefix, *(cell for column in columns for cell in column))
    number = digits.integers(np.arange(1, len(mesh.vertices) + 1))
    space, slash = (np.full((len(number), 1), ord(sign), np.uint8) for sign in " /")
    corner = np.concatenate([space, number, slash, number], axis=1)  # a vertex and its place in the texture
    corner = corner.view(f"V{corner.shape[1]}")[:, 0]
    for first in range(0, len(mesh.faces), _LINES):
        faces = corner[mesh.faces[first : first + _LINES]]
        yield digits.lines("f", faces.view(np.uint8))


def _upwards(uv: np.ndarray) -> np.ndarray:
    """Count v from the bottom, as OBJ and trimesh do: float32 (N, 2)."""
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)


def write_glb(path: str | os.PathLike, mesh: Mesh, image: np.ndarray) -> Path:
    """Write a mesh as binary glTF with the picture as its unlit texture.

    Args:
        path: file to write.
        mesh: the surface, OpenCV axes.
        image: uint8 (H, W, 3) RGB or a PIL image, the picture that `mesh.uv` refers to.

    Returns:
        The written path.
    """
    texture = Image.fromarray(np.asarray(image))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    visual = trimesh.visual.TextureVisuals(uv=_upwards(mesh.uv), material=material)  # turned again for glTF
    surface = trimesh.Trimesh(mesh.vertices * _TO_FILE_AXES, mesh.faces, visual=visual, process=False, validate=False)
    data = trimesh.exchange.gltf.export_glb(
        trimesh.Scene(surface), include_normals=False, tree_postprocessor=_make_unlit
    )
    return _write(path, data)


def write_webp(path: str | os.PathLike, frames: Sequence[np.ndarray], frame_ms: int = 60) -> Path:
    """Write pictures as an endless animated WebP.

    Args:
        path: file to write.
        frames: uint8 (H, W, 3) RGB each.
        frame_ms: how long each is shown, milliseconds.

    Returns:
        The written path.
    """
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=frame_ms, loop=0, **_WEBP)
    return _write(path, buffer.getvalue())


def _make_unlit(tree: dict) -> None:
    for material in tree["materials"]:
        material["extensions"] = {_UNLIT: {}}
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), _UNLIT})


def _write(path: str | os.PathLike, *data: bytes) -> Path:
    """Write a file, part by part, through a temporary neighbour, so that nobody ever reads half of it."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(data)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a download is an ordinary file
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
