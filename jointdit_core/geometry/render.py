"""Draws a mesh from beside its own camera, and paints what no surface covers. Numpy only; no GPU, no window.

The camera moves in the picture's plane and its sensor shifts back, so that the depth `pivot` stays where it is and
everything else moves by an amount linear in inverse depth. Letters: N vertices, M faces, K fragments (a face at a
pixel it covers).
"""

from __future__ import annotations

import numpy as np

from .lift import Mesh, project

_CHUNK = 1 << 16  # fragments drawn at once, about: they stay within the processor's cache
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
    image = np.asarray(image)
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
    nearest = np.zeros(height * width, np.float32)
    source = np.zeros((height * width, 2), np.float32)  # uv seen at each pixel
    chunk = max(256, _CHUNK * len(mesh.faces) // max(len(mesh.faces), height * width))
    for first in range(0, len(mesh.faces), chunk):
        faces = mesh.faces[first : first + chunk]
        pixel, face, weight = _fragments(screen[faces], width, height)
        corners = faces[face]  # (K, 3)
        depth = np.einsum("kc,kc->k", near[corners], weight)  # inverse depth is linear on the screen
        np.maximum.at(nearest, pixel, depth)
        front = depth == nearest[pixel]
        corners, weight, depth, pixel = corners[front], weight[front], depth[front], pixel[front]
        weight = weight * near[corners] / depth[:, None]  # the texture is linear on the surface
        source[pixel] = np.einsum("kci,kc->ki", mesh.uv[corners], weight)
    view = np.zeros((height * width, 3), np.uint8)
    drawn = np.flatnonzero(nearest)
    for first in range(0, len(drawn), _CHUNK):
        part = drawn[first : first + _CHUNK]
        view[part] = _texture(image, source[part])
    return view.reshape(height, width, 3), nearest.reshape(height, width)


def _fragments(corners: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pixels whose centres faces cover.

    Args:
        corners: float32 (M, 3, 2), pixels.
        width: of the view.
        height: of the view.

    Returns:
        pixel: int64 (K,), row-major.
        face: int64 (K,).
        weight: float32 (K, 3), barycentric.
    """
    one, two, three = corners.transpose(1, 0, 2)  # numpy's reductions over three of something are slow
    first = np.ceil(np.minimum(np.minimum(one, two), three) - 0.5 - 1e-4)
    last = np.floor(np.maximum(np.maximum(one, two), three) - 0.5 + 1e-4)
    first, last = np.maximum(first, 0), np.minimum(last, (width - 1, height - 1))
    side = corners[:, 1:] - corners[:, :1]  # (M, 2, 2)
    area = side[:, 0, 0] * side[:, 1, 1] - side[:, 0, 1] * side[:, 1, 0]
    count = np.maximum(last - first + 1, 0).astype(np.int64)  # (M, 2): columns, rows
    total = np.where(area < 0, count[:, 0] * count[:, 1], 0)  # front faces alone: counter-clockwise, y running down
    face = np.repeat(np.arange(len(corners)), total)
    place = np.arange(len(face)) - np.repeat(np.cumsum(total) - total, total)
    down, right = np.divmod(place, count[face, 0])
    x = first[face, 0] + right.astype(np.float32)
    y = first[face, 1] + down.astype(np.float32)
    right, down = x + 0.5 - corners[face, 0, 0], y + 0.5 - corners[face, 0, 1]
    side, area = side[face], area[face]
    one = (right * side[:, 1, 1] - down * side[:, 1, 0]) / area
    two = (down * side[:, 0, 0] - right * side[:, 0, 1]) / area
    three = 1 - one - two
    inside = (one >= _COVERED) & (two >= _COVERED) & (three >= _COVERED)
    pixel = (y[inside] * width + x[inside]).astype(np.int64)
    return pixel, face[inside], np.stack([three[inside], one[inside], two[inside]], axis=-1)


def _texture(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Read a picture between its pixels: uint8 (K, 3) at uv (K, 2)."""
    height, width = image.shape[:2]
    at = np.clip(uv * np.float32([width, height]) - 0.5, 0, np.float32([width - 1, height - 1]))
    low = at.astype(np.int32)
    share = at - low
    x0, y0 = low.T
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    right, down = share[:, :1], share[:, 1:]
    upper = image[y0, x0] * (1 - right) + image[y0, x1] * right
    lower = image[y1, x0] * (1 - right) + image[y1, x1] * right
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


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
