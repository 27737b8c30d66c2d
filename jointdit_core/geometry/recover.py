"""The camera told by the picture's own planes: which field of view and far plane make them square?

A plane's disparity is a x + b y + c in the picture, and its normal is (f a, f b, c + shift), with f the focal length in
half longer sides and shift = 1 / (far_over_near - 1). Man-made surfaces are mostly parallel or square to each other, so
every pair of planes is a statement about f and shift. Both are searched on a grid for the best agreement, each plane
as certain as its extent allows, a pair that is neither square nor parallel costing a bounded amount, and the defaults
deciding where the planes say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .camera import FOV_DEG, intrinsics
from .disparity import FAR_OVER_NEAR, check_disparity, check_varies
from .planes import Planes, find_planes

_FOV_GRID_DEG = np.arange(24.0, 106.0, 2.0)
_RATIO_GRID = np.geomspace(1.4, 60.0, 72)
# What is believed before the picture is seen: the defaults, give or take one standard deviation.
_FOV_SPREAD_DEG = 12.0
_LOG_RATIO_SPREAD = math.log(2.2)
_SQUARE_TO = math.radians(2.0)  # how exactly surfaces are square or parallel; model-made maps are warped
_UNRELATED = 0.05  # likelihood, against an exact pair's 1, of two surfaces that have nothing to do with each other
_EVIDENCE = 2.0  # how much a pair of picture-filling planes weighs against the belief


@dataclass(frozen=True)
class CameraEstimate:
    """What the picture tells about its camera.

    Attributes:
        fov_deg: angle across the longer side in degrees.
        far_over_near: depth of the far plane over that of the near plane.
        planes: number of flat pieces the answer rests on; below 2 it is the default.
    """

    fov_deg: float
    far_over_near: float
    planes: int


def estimate_camera(disparity: np.ndarray, fov_deg: float | None = None) -> CameraEstimate:
    """Estimate field of view and far/near ratio from the planes in a disparity map.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.
        fov_deg: angle across the longer side in degrees, in [5, 150], where it is known (EXIF, a slider); None
            estimates it too.

    Returns:
        CameraEstimate, the same for the same map; a known `fov_deg` comes back as given. Where fewer than two planes
        are found, it holds the defaults.

    Raises:
        ValueError: for a bad or constant map, or an angle out of range.
    """
    disparity = check_disparity(disparity)
    check_varies(disparity)
    if fov_deg is not None:
        intrinsics(*disparity.shape, fov_deg)  # checks the angle
    planes = find_planes(disparity)
    if len(planes.share) < 2:
        return CameraEstimate(FOV_DEG if fov_deg is None else float(fov_deg), FAR_OVER_NEAR, len(planes.share))
    fovs = _FOV_GRID_DEG if fov_deg is None else np.array([float(fov_deg)])
    score = _EVIDENCE * _log_squareness(planes, fovs)
    score -= 0.5 * (np.log(_RATIO_GRID / FAR_OVER_NEAR) / _LOG_RATIO_SPREAD) ** 2
    if fov_deg is None:
        score -= 0.5 * ((fovs[:, None] - FOV_DEG) / _FOV_SPREAD_DEG) ** 2
    row, column = np.unravel_index(np.argmax(score), score.shape)
    best_fov = _peak(fovs, score[:, column], row)
    log_ratio = _peak(np.log(_RATIO_GRID), score[row], column)
    return CameraEstimate(best_fov, math.exp(log_ratio), len(planes.share))


def _log_squareness(planes: Planes, fovs: np.ndarray) -> np.ndarray:
    """Sum over pairs of planes how well they are square or parallel: float64 (F, R) for F angles and R ratios."""
    f = 1 / np.tan(np.radians(fovs) / 2)[:, None, None]  # (F, 1, 1)
    shift = (1 / (_RATIO_GRID - 1))[:, None]  # (R, 1)
    a, b, c = planes.coefficients.T
    sigma_a, sigma_b, sigma_c = planes.sigma.T
    normal = np.stack(np.broadcast_arrays(f * a, f * b, c + shift), axis=-1)  # (F, R, P, 3)
    length = np.linalg.norm(normal, axis=-1)  # (F, R, P)
    normal /= length[..., None]
    # A longer vector is surer of its direction; else a huge shift would make all planes parallel.
    unsure = (np.square(f * sigma_a) + np.square(f * sigma_b) + np.square(sigma_c)) / np.square(length)
    i, j = np.triu_indices(len(a), 1)
    angle = np.arccos(np.clip(np.abs((normal[:, :, i] * normal[:, :, j]).sum(-1)), 0, 1))  # (F, R, pairs)
    off = np.minimum(angle, np.pi / 2 - angle)
    likelihood = np.exp(-0.5 * np.square(off) / (unsure[:, :, i] + unsure[:, :, j] + _SQUARE_TO**2))
    weight = (planes.share[i] * planes.share[j]) ** 0.25
    return (weight * np.log(_UNRELATED + (1 - _UNRELATED) * likelihood)).sum(-1)


def _peak(grid: np.ndarray, score: np.ndarray, best: int) -> float:
    """Place the maximum between the steps of a regular grid, on the parabola through its neighbours."""
    if not 0 < best < len(grid) - 1:
        return float(grid[best])
    before, at, after = score[best - 1 : best + 2]
    bend = before - 2 * at + after
    return float(grid[best] + (0.5 * (before - after) / bend if bend < 0 else 0.0) * (grid[1] - grid[0]))
