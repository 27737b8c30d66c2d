"""Draws a mesh from beside its own camera, and paints what no surface covers. No GPU, no window.

The camera moves in the picture's plane and its sensor shifts back, so that the depth `pivot` stays where it is and
everything else moves by an amount linear in inverse depth. Letters: N vertices, M faces.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .lift import Mesh, project

_COVERED = -1e-4  # of a face's area; a pixel centre on the border of two faces belongs to both
_FADE = 0.125  # share of a block's sum that each of its four pixels inherits: half of what would keep the sum
_FAR_FIRST = 4  # power of depth that surroundings are weighed with: what lies behind shows, but not the far horizon


def render(mesh: Mesh, image: np.ndarray, moved_px: tuple[float, float], pivot: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw a mesh with its texture.

    Args:
        mesh: the surface.
        image: uint8 (H, W, 3) RGB, the picture that `mesh.uv` refers to; the view has its size.
        moved_px: how far the camera moved right and down, as the pixels by which a point at depth 1 then moves left
            and up against one infinitely far.
        pivot: depth that stays in place, > 0.

    Returns:
        view: uint8 (H, W, 3) RGB, black where nothing is.
        inverse_depth: float32 (H, W), 0 where nothing is.

    Raises:
        ValueError: for a picture of another size than the mesh's camera, or a pivot out of range.
    """
    image = np.array(image)  # writable: read-only arrays are another type to the compiler
    width, height = mesh.intrinsics.width, mesh.intrinsics.height
    if image.dtype != np.uint8 or image.shape != (height, width, 3):
        raise ValueError(
            f"image: got {image.dtype} of shape {image.shape}, allowed is uint8 of shape {(height, width, 3)}"
        )
    if not (np.isfinite(pivot) and pivot > 0):
        raise ValueError(f"pivot: got {pivot}, allowed is a finite depth > 0")
    near = 1 / mesh.vertices[:, 2].astype(np.float32)  # (N,)
    screen = project(mesh.vertices, mesh.intrinsics) + np.multiply.outer(1 / pivot - near, moved_px)
    screen = screen.astype(np.float32)
    view, nearest = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    _rasterize(screen, near, mesh.faces, mesh.uv, image, view, nearest)
    return view, nearest


@numba.njit(cache=True, nogil=True)
def _rasterize(
    screen: np.ndarray,
    near: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    image: np.ndarray,
    view: np.ndarray,
    nearest: np.ndarray,
) -> None:
    """Draw faces into a view with a depth buffer; a loop over pixels, which compiled is 20 times as fast as arrays.

    Args:
        screen: float32 (N, 2), pixels.
        near: float32 (N,), inverse depth, which is linear on the screen.
        faces: int32 (M, 3).
        uv: float32 (N, 2).
        image: uint8 (H, W, 3), the texture.
        view: uint8 (H, W, 3), changed.
        nearest: float32 (H, W), the largest inverse depth drawn so far, changed.
    """
    height, width = nearest.shape
    source = np.empty((height, width, 2), np.float32)  # uv seen at each pixel
    for m in range(len(faces)):
        i, j, k = faces[m]
        left, top = screen[i]
        ax, ay = screen[j, 0] - left, screen[j, 1] - top
        bx, by = screen[k, 0] - left, screen[k, 1] - top
        area = ax * by - ay * bx
        if area >= 0:  # front faces alone: counter-clockwise, y running down
            continue
        first_x = max(math.ceil(left + min(ax, bx, 0.0) - 0.5 - 1e-4), 0)
        first_y = max(math.ceil(top + min(ay, by, 0.0) - 0.5 - 1e-4), 0)
        last_x = min(math.floor(left + max(ax, bx, 0.0) - 0.5 + 1e-4), width - 1)
        last_y = min(math.floor(top + max(ay, by, 0.0) - 0.5 + 1e-4), height - 1)
        for y in range(first_y, last_y + 1):
            for x in range(first_x, last_x + 1):
                right, down = x + 0.5 - left, y + 0.5 - top
                of_j = (right * by - down * bx) / area  # barycentric
                of_k = (down * ax - right * ay) / area
                of_i = 1.0 - of_j - of_k
                if min(of_i, of_j, of_k) < _COVERED:
                    continue
                of_i, of_j, of_k = of_i * near[i], of_j * near[j], of_k * near[k]
                depth = of_i + of_j + of_k
                if depth > nearest[y, x]:
                    nearest[y, x] = depth
                    for c in range(2):  # the texture is linear on the surface
                        source[y, x, c] = (of_i * uv[i, c] + of_j * uv[j, c] + of_k * uv[k, c]) / depth
    for y in range(height):
        for x in range(width):
            if nearest[y, x] == 0:
                continue
            right = min(max(source[y, x, 0] * width - 0.5, 0.0), width - 1.0)
            down = min(max(source[y, x, 1] * height - 0.5, 0.0), height - 1.0)
            x0, y0 = int(right), int(down)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            right, down = right - x0, down - y0
            for c in range(3):
                upper = image[y0, x0, c] * (1 - right) + image[y0, x1, c] * right
                lower = image[y1, x0, c] * (1 - right) + image[y1, x1, c] * right
                view[y, x, c] = round(upper * (1 - down) + lower * down)


def fill_holes(view: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Paint what a view uncovers from the far side of what surrounds it, coarse to fine.

    Args:
        view: uint8 (H, W, 3) RGB.
        inverse_depth: float32 (H, W), 0 where nothing was drawn.

    Returns:
        uint8 (H, W, 3); drawn pixels are unchanged.
    """
    hole = inverse_depth == 0
    if hole.all() or not hole.any():
        return view
    weight = np.where(hole, 0, (inverse_depth[~hole].min() / np.where(hole, 1, inverse_depth)) ** _FAR_FIRST)
    weight = np.where(hole, 0, np.maximum(weight, 1e-6)).astype(np.float32)
    levels = [np.concatenate([view * weight[..., None], weight[..., None]], axis=-1, dtype=np.float32)]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halve(levels[-1]))
    filled = levels.pop()
    while levels:
        finer = levels.pop()
        # Sums of weighted colours: where the near surroundings alone are known, the far ones a level up outweigh them.
        filled = finer + _FADE * _double(filled, finer.shape[:2])
    filled = filled[..., :3] / np.maximum(filled[..., 3:], 1e-30)
    return np.where(hole[..., None], np.rint(filled).clip(0, 255).astype(np.uint8), view)


def _halve(level: np.ndarray) -> np.ndarray:
    """Sum blocks of 2 x 2, an odd border once more."""
    height, width = level.shape[:2]
    level = np.pad(level, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]


def _double(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge to (H, W) with linear weights of 3/4 and 1/4."""
    for axis, wanted in enumerate(size):
        lines = np.moveaxis(level, axis, 0)
        edge = np.concatenate([lines[:1], lines, lines[-1:]])
        both = np.stack([0.75 * lines + 0.25 * edge[:-2], 0.75 * lines + 0.25 * edge[2:]], axis=1)
        level = np.moveaxis(both.reshape(-1, *lines.shape[1:])[:wanted], 0, axis)
    return level
