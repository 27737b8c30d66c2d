"""A picture and its disparity, lifted into 3D: coloured points or a textured mesh. Conventions: see the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import FOV_DEG, Intrinsics, intrinsics
from .disparity import FAR_OVER_NEAR, check_disparity, check_varies, disparity_to_depth
from .edges import EDGE_THRESHOLD, broken_links, mixed_pixels

SKY_DISPARITY = 1 / 255  # one level of an 8-bit map: what is not nearer than this counts as sky


@dataclass(frozen=True)
class PointCloud:
    """Coloured points in OpenCV axes (x right, y down, z forward), unit-free: the near plane is at z = 1.

    Attributes:
        points: float32 (N, 3).
        colors: uint8 (N, 3) RGB.
        pixel: int32 (N, 2), the (x, y) of the pixel each point comes from.
        intrinsics: the camera the points were seen by.
    """

    points: np.ndarray
    colors: np.ndarray
    pixel: np.ndarray
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Mesh:
    """A textured surface in the axes of `PointCloud`; faces are counter-clockwise as the camera sees them.

    Attributes:
        vertices: float32 (N, 3).
        faces: int32 (M, 3), indices into `vertices`.
        uv: float32 (N, 2) in [0, 1], from the picture's top left corner, v downwards.
        colors: uint8 (N, 3) RGB at the vertices.
        intrinsics: the camera the mesh was seen by.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    colors: np.ndarray
    intrinsics: Intrinsics


def lift(
    image: np.ndarray,
    disparity: np.ndarray,
    fov_deg: float = FOV_DEG,
    far_over_near: float = FAR_OVER_NEAR,
    edge_threshold: float | None = EDGE_THRESHOLD,
    drop_sky: bool = False,
    max_points: int | None = None,
) -> PointCloud:
    """Lift a picture into a point cloud.

    Args:
        image: uint8 (H, W, 3) RGB, or a PIL image in mode RGB.
        disparity: float (H, W) in [0, 1], near = 1.
        fov_deg: angle across the longer side in degrees, in [5, 150].
        far_over_near: depth of the far plane over that of the near plane, > 1.
        edge_threshold: relative depth jump from which a pixel between two surfaces is cut, > 0; None keeps all.
        drop_sky: leave out what lies on the far plane (disparity <= 1/255).
        max_points: upper bound on the number of points, >= 1, met by a regular coarser grid; None keeps all.

    Returns:
        PointCloud, points in row-major order of their pixels.

    Raises:
        ValueError: for an argument out of range, a constant map, or if no point is left.
    """
    image, depth, camera = _prepare(image, disparity, fov_deg, far_over_near)
    keep = _keep(disparity, depth, edge_threshold, drop_sky)
    rows, columns = _grid(keep, max_points, "max_points")
    chosen = keep[np.ix_(rows, columns)]
    y, x = (index[chosen] for index in np.meshgrid(rows, columns, indexing="ij"))
    if len(x) == 0:
        raise ValueError("disparity: got only sky and edges, no point is left to lift")
    check_varies(np.asarray(disparity))
    pixel = np.stack([x, y], axis=-1).astype(np.int32)  # (N, 2)
    return PointCloud(_unproject(pixel, depth[y, x], camera), image[y, x], pixel, camera)


def lift_mesh(
    image: np.ndarray,
    disparity: np.ndarray,
    fov_deg: float = FOV_DEG,
    far_over_near: float = FAR_OVER_NEAR,
    edge_threshold: float | None = EDGE_THRESHOLD,
    drop_sky: bool = False,
    max_vertices: int | None = None,
) -> Mesh:
    """Lift a picture into a mesh over its pixel grid, open where the depth breaks.

    Args:
        image: uint8 (H, W, 3) RGB, or a PIL image in mode RGB.
        disparity: float (H, W) in [0, 1], near = 1, H and W >= 2.
        fov_deg: angle across the longer side in degrees, in [5, 150].
        far_over_near: depth of the far plane over that of the near plane, > 1.
        edge_threshold: relative depth jump that no triangle bridges, > 0; None closes every gap.
        drop_sky: leave out what lies on the far plane (disparity <= 1/255).
        max_vertices: upper bound on the number of vertices, >= 1, met by a regular coarser grid; None keeps all.

    Returns:
        Mesh without unused vertices, in row-major order of their pixels.

    Raises:
        ValueError: for an argument out of range, a constant map, or if no triangle is left.
    """
    image, depth, camera = _prepare(image, disparity, fov_deg, far_over_near)
    keep = _keep(disparity, depth, edge_threshold, drop_sky)
    rows, columns = _grid(keep, max_vertices, "max_vertices")
    y, x = np.meshgrid(rows, columns, indexing="ij")
    faces = _faces(keep[y, x], 1 / depth[y, x], edge_threshold)
    if len(faces) == 0:
        raise ValueError("disparity: got only sky, edges or less than 2 x 2 pixels, no triangle is left to lift")
    check_varies(np.asarray(disparity))
    used = np.zeros(y.size, bool)
    used[faces] = True
    faces = (np.cumsum(used, dtype=np.int32) - 1)[faces]
    x, y = x.ravel()[used], y.ravel()[used]
    pixel = np.stack([x, y], axis=-1)  # (N, 2)
    uv = ((pixel + 0.5) / (camera.width, camera.height)).astype(np.float32)
    return Mesh(_unproject(pixel, depth[y, x], camera), faces, uv, image[y, x], camera)


def project(points: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Project points into the image.

    Args:
        points: float (N, 3), OpenCV axes, z > 0.
        camera: the pinhole to project with.

    Returns:
        float64 (N, 2), continuous image coordinates (x, y) in pixels; the centre of pixel (x, y) is (x, y) + 0.5.

    Raises:
        ValueError: for another shape or a point behind the camera.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.all(points[:, 2] > 0):
        raise ValueError(f"points: got shape {points.shape}, allowed is (N, 3) with every z > 0")
    return points[:, :2] / points[:, 2:] * camera.f_px + (camera.cx, camera.cy)


def _prepare(
    image: np.ndarray, disparity: np.ndarray, fov_deg: float, far_over_near: float
) -> tuple[np.ndarray, np.ndarray, Intrinsics]:
    """Check the arguments both lifts share; return the image (H, W, 3), the depth (H, W) and the camera."""
    image = np.asarray(image)
    depth = disparity_to_depth(disparity, far_over_near)
    if image.dtype != np.uint8 or image.shape != (*depth.shape, 3):
        raise ValueError(
            f"image: got {image.dtype} of shape {image.shape}, allowed is uint8 of shape {(*depth.shape, 3)}"
        )
    return image, depth, intrinsics(depth.shape[1], depth.shape[0], fov_deg)


def _keep(disparity: np.ndarray, depth: np.ndarray, edge_threshold: float | None, drop_sky: bool) -> np.ndarray:
    """Return bool (H, W), True for the pixels that lie on a surface."""
    if edge_threshold is not None and not edge_threshold > 0:
        raise ValueError(f"edge_threshold: got {edge_threshold}, allowed is a number > 0, or None")
    keep = np.ones(depth.shape, bool) if edge_threshold is None else ~mixed_pixels(1 / depth, edge_threshold)
    return keep & (check_disparity(disparity) > SKY_DISPARITY) if drop_sky else keep


def _grid(keep: np.ndarray, budget: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows and columns of the finest regular grid that meets at most `budget` True pixels of `keep`."""
    if budget is not None and budget < 1:
        raise ValueError(f"{name}: got {budget}, allowed is at least 1, or None")
    longer = max(keep.shape)

    def lines(side: int, count: int) -> np.ndarray:
        wanted = max(1, round(side * count / longer))
        return ((np.arange(wanted) + 0.5) * side / wanted).astype(np.int64)

    def grid(count: int) -> tuple[np.ndarray, np.ndarray]:
        return lines(keep.shape[0], count), lines(keep.shape[1], count)

    if budget is None or np.count_nonzero(keep) <= budget:
        return grid(longer)
    fits, too_many = 1, longer  # a grid of 1 x 1 always fits
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if np.count_nonzero(keep[np.ix_(*grid(middle))]) <= budget:
            fits = middle
        else:
            too_many = middle
    rows, columns = grid(fits)
    if keep.any() and not keep[np.ix_(rows, columns)].any():  # a grid this coarse may miss all there is
        y, x = np.argwhere(keep)[np.count_nonzero(keep) // 2]
        return np.array([y]), np.array([x])
    return rows, columns


def _unproject(pixel: np.ndarray, depth: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Give the pixels (N, 2) their depth (N,): float32 (N, 3), rounded only once."""
    rays = (pixel + 0.5 - (camera.cx, camera.cy)) / camera.f_px
    points = np.empty((len(pixel), 3), np.float32)
    points[:, :2] = rays * depth[:, None]
    points[:, 2] = depth
    return points


def _faces(keep: np.ndarray, inverse_depth: np.ndarray, edge_threshold: float | None) -> np.ndarray:
    """Triangulate a grid of kept vertices (H, W) along unbroken links: int32 (M, 3), row-major vertex numbers."""
    right, down = keep[:, :-1] & keep[:, 1:], keep[:-1] & keep[1:]  # (H, W-1), (H-1, W): links that hold
    if edge_threshold is not None:
        right &= broken_links(inverse_depth, 1, 1, edge_threshold) == 0
        down &= broken_links(inverse_depth, 0, 1, edge_threshold) == 0
    top, bottom, left, right = right[:-1], right[1:], down[:, :-1], down[:, 1:]  # (H-1, W-1), the sides of each cell

    number = np.arange(keep.size, dtype=np.int32).reshape(keep.shape)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]  # corners: a b over c d
    # A cell is cut along the diagonal over which depth changes less, or along the one that its hole leaves.
    near = np.where(keep, inverse_depth, np.inf)
    with np.errstate(invalid="ignore"):  # inf - inf at two opposite holes: no triangle is left there anyway
        cut_ad = np.abs(near[:-1, :-1] - near[1:, 1:]) <= np.abs(near[:-1, 1:] - near[1:, :-1])
    corners = (
        (a, c, b, top & left & ~cut_ad),
        (d, b, c, bottom & right & ~cut_ad),
        (b, a, d, top & right & cut_ad),
        (c, d, a, bottom & left & cut_ad),
    )
    return np.concatenate([np.stack([i[m], j[m], k[m]], axis=-1) for i, j, k, m in corners])
