"""The direction that each pixel's surface faces.

A plane n . P = 1 seen along the ray (x / f, y / f, 1), x and y counted from the principal point, has the inverse depth
w = n . ray, so its normal is (f dw/dx, f dw/dy, w - x dw/dx - y dw/dy): exact for planes, however slanted.
"""

from __future__ import annotations

import numpy as np

from .camera import FOV_DEG, intrinsics
from .disparity import FAR_OVER_NEAR, disparity_to_depth
from .edges import EDGE_THRESHOLD

_PIXELS_PER_LINK = 128  # slopes are read over longer links in larger pictures, or noise would be all there is


def surface_normals(
    disparity: np.ndarray, fov_deg: float = FOV_DEG, far_over_near: float = FAR_OVER_NEAR
) -> np.ndarray:
    """Find the surface normals of a disparity map.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.
        fov_deg: angle across the longer side in degrees, in [5, 150].
        far_over_near: depth of the far plane over that of the near plane, > 1.

    Returns:
        float32 (H, W, 3), unit vectors in OpenCV axes that face the camera.

    Raises:
        ValueError: for an argument out of range.
    """
    inverse_depth = 1 / disparity_to_depth(disparity, far_over_near)
    height, width = inverse_depth.shape
    camera = intrinsics(width, height, fov_deg)
    across, down = _slope(inverse_depth, 1), _slope(inverse_depth, 0)
    x = np.arange(0.5, width, dtype=np.float32) - np.float32(camera.cx)
    y = np.arange(0.5, height, dtype=np.float32)[:, None] - np.float32(camera.cy)
    normal = np.empty((height, width, 3), np.float32)
    normal[..., 2] = across * x + down * y - inverse_depth
    normal[..., 0] = across * np.float32(-camera.f_px)
    normal[..., 1] = down * np.float32(-camera.f_px)
    normal /= np.sqrt(np.einsum("hwc,hwc->hw", normal, normal))[..., None]
    return normal


def _slope(inverse_depth: np.ndarray, axis: int) -> np.ndarray:
    """Inverse depth gained per pixel along an axis, float32 (H, W); beside an edge, on the pixel's own side of it."""
    lines = np.moveaxis(inverse_depth, axis, 1)
    reach = min(max(1, max(lines.shape) // _PIXELS_PER_LINK), lines.shape[1] - 1)
    slope = np.zeros_like(lines)
    if reach == 0:
        return np.moveaxis(slope, 1, axis)
    step = lines[:, reach:] - lines[:, :-reach]
    before = np.concatenate([step[:, :reach], step], axis=1)[:, : lines.shape[1]]  # the border has one side only
    after = np.concatenate([step, step[:, -reach:]], axis=1)[:, -lines.shape[1] :]
    turns = np.abs(after - before) > np.float32(EDGE_THRESHOLD) * lines
    smaller = np.where(np.abs(after) < np.abs(before), after, before)
    slope = np.where(turns, smaller, (before + after) / 2) / np.float32(reach)
    return np.moveaxis(slope, 1, axis)
