"""What each step of the geometry costs: processor time and memory by resolution."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry import export
from ..geometry.disparity import disparity_to_depth
from ..geometry.edges import EDGE_THRESHOLD, mixed_pixels
from ..geometry.lift import lift, lift_mesh
from ..geometry.normals import surface_normals
from ..geometry.recover import estimate_camera
from ..geometry.steps import smooth_steps
from ..geometry.views import parallax_frames, stereo_pair
from .geometry_worlds import World, quantise

_BUDGET = 65_536  # vertices of the decimated mesh, as the page makes it
_REPEATS = 2  # the quicker counts: what else runs on the machine only ever adds


@dataclass(frozen=True)
class CostRow:
    """One step at one resolution.

    Attributes:
        step: what is done.
        size: side of the square map in pixels.
        seconds: processor time of the one thread that works.
        mebibytes: most memory that arrays made on the way took at once; what libraries take for themselves is not seen.
    """

    step: str
    size: int
    seconds: float
    mebibytes: float


def measure_cost(world: World, sizes: tuple[int, ...], folder: Path) -> list[CostRow]:
    """Run every step on one scene, enlarged to several resolutions.

    Args:
        world: the scene.
        sizes: sides in pixels.
        folder: an existing one for the files.

    Returns:
        Rows by size, then step.
    """
    torch.set_num_threads(1)
    return [
        CostRow(name, size, *_cost(step))
        for size in sizes
        for name, step in _steps(*_enlarged(world, size), world.far_over_near, folder)
    ]


def _enlarged(world: World, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The scene's picture uint8 (size, size, 3) and disparity float32 (size, size)."""
    planes = np.concatenate([world.image.transpose(2, 0, 1) / np.float32(255), world.disparity[None]])
    given = torch.from_numpy(planes)[None]
    larger = F.interpolate(given, size=(size, size), mode="bilinear", antialias=True)[0].numpy()
    image = np.rint(larger[:3].transpose(1, 2, 0) * 255).astype(np.uint8)
    return np.ascontiguousarray(image), larger[3].clip(0, 1).copy()


def _steps(
    image: np.ndarray, disparity: np.ndarray, ratio: float, folder: Path
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The steps by name, in the order of a result's way; each is run before the next one is made."""
    inverse = 1 / disparity_to_depth(disparity, ratio)
    rounded = quantise(disparity, 8)
    yield "estimate camera", lambda: estimate_camera(disparity)
    yield "edge cut", lambda: mixed_pixels(inverse, EDGE_THRESHOLD)
    yield "smooth 8-bit steps", lambda: smooth_steps(rounded)
    yield "normals", lambda: surface_normals(disparity, far_over_near=ratio)
    yield "lift to points", lambda: lift(image, disparity, far_over_near=ratio)
    yield "lift to mesh", lambda: lift_mesh(image, disparity, far_over_near=ratio)
    yield "mesh of 65,536 vertices", lambda: lift_mesh(image, disparity, far_over_near=ratio, max_vertices=_BUDGET)
    cloud, mesh = lift(image, disparity, far_over_near=ratio), lift_mesh(image, disparity, far_over_near=ratio)
    normals = surface_normals(disparity, far_over_near=ratio)
    yield "write PNG16", lambda: export.write_png16(folder / "depth.png", disparity)
    yield "write NPY", lambda: export.write_npy(folder / "depth.npy", disparity)
    yield "write EXR", lambda: export.write_exr(folder / "depth.exr", disparity, ratio)
    yield "write normals", lambda: export.write_normals(folder / "normals.png", normals)
    yield "write PLY", lambda: export.write_ply(folder / "points.ply", cloud, normals)
    yield "write GLB", lambda: export.write_glb(folder / "mesh.glb", mesh, image)
    yield "write OBJ", lambda: export.write_obj(folder / "mesh.obj", mesh, image)
    yield "write camera", lambda: export.write_camera(folder / "camera.json", mesh.intrinsics, ratio)
    small = lift_mesh(image, disparity, far_over_near=ratio, max_vertices=_BUDGET)
    yield "stereo pair of 65,536 vertices", lambda: stereo_pair(small, image)
    if len(disparity) <= 512:
        frames = parallax_frames(small, image)
        yield "parallax, 24 frames", lambda: parallax_frames(small, image)
        yield "write WebP, 24 frames", lambda: export.write_webp(folder / "parallax.webp", frames)


def _cost(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds and mebibytes of one step; memory in a run of its own, since watching it takes time."""
    spent = []
    for _ in range(_REPEATS):
        start = time.thread_time()
        step()
        spent.append(time.thread_time() - start)
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return min(spent), peak / 2**20
