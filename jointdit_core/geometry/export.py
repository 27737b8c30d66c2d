"""Files for other programs, written whole or not at all; the only place where axes flip.

3D files are right-handed with x right, y up and z backward (glTF's axes), so they open upright: OpenCV's y and z change
sign, a half turn about x that keeps the winding of faces. Lengths are unit-free, the near plane at distance 1.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from .disparity import check_disparity, to_uint16
from .lift import Mesh, PointCloud

_TO_FILE_AXES = np.array([1, -1, -1], np.float32)
_UNLIT = "KHR_materials_unlit"  # the photo has its light already; lit viewers would shade it twice


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
    Image.fromarray(to_uint16(disparity)).save(buffer, "PNG")
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


def write_ply(path: str | os.PathLike, cloud: PointCloud) -> Path:
    """Write a point cloud as binary little-endian PLY with colours.

    Args:
        path: file to write.
        cloud: the points, OpenCV axes.

    Returns:
        The written path.
    """
    vertices = np.empty(len(cloud.points), np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    vertices["xyz"] = cloud.points * _TO_FILE_AXES
    vertices["rgb"] = cloud.colors
    lines = ["ply", "format binary_little_endian 1.0", "comment x right, y up, z backward; unit-free, camera at origin"]
    lines += [f"element vertex {len(vertices)}"]
    lines += [f"property float {name}" for name in ("x", "y", "z")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    return _write(path, "\n".join([*lines, "end_header\n"]).encode("ascii") + vertices.tobytes())


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
    # trimesh keeps v upwards and turns it again for glTF.
    visual = trimesh.visual.TextureVisuals(uv=np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=-1), material=material)
    surface = trimesh.Trimesh(mesh.vertices * _TO_FILE_AXES, mesh.faces, visual=visual, process=False, validate=False)
    data = trimesh.exchange.gltf.export_glb(
        trimesh.Scene(surface), include_normals=False, tree_postprocessor=_make_unlit
    )
    return _write(path, data)


def _make_unlit(tree: dict) -> None:
    for material in tree["materials"]:
        material["extensions"] = {_UNLIT: {}}
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), _UNLIT})


def _write(path: str | os.PathLike, data: bytes) -> Path:
    """Write a file through a temporary neighbour, so that nobody ever reads half of it."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a download is an ordinary file
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
