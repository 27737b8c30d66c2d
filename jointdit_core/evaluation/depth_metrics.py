"""Affine-invariant depth metrics, as in the paper's tables.

Letters: H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_DISPARITY = 1e-3  # 1 / m; Marigold's evaluation takes nothing to be farther away than a kilometre


@dataclass(frozen=True)
class DepthMetrics:
    """Errors of one map, both in percent.

    Attributes:
        abs_rel: Mean of |d - d*| / d*; lower is better.
        delta1: Share of pixels with max(d / d*, d* / d) < 1.25; higher is better.
    """

    abs_rel: float
    delta1: float


def fit_disparity(disparity: np.ndarray, target: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Fit one scale and one shift by least squares.

    Args:
        disparity: Predicted relative disparity (H, W).
        target: True disparity (H, W), 1 / depth.
        valid: Pixels to fit to (H, W) bool.

    Returns:
        (scale, shift), of which scale * disparity + shift is nearest to the target.
    """
    x, y = disparity[valid].astype(np.float64), target[valid].astype(np.float64)
    system = np.stack([x, np.ones_like(x)], axis=1)
    scale, shift = np.linalg.lstsq(system, y, rcond=None)[0]
    return float(scale), float(shift)


def align_disparity(disparity: np.ndarray, target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Bring a predicted map to the true one's scale and shift; arguments as in `fit_disparity`.

    Returns:
        scale * disparity + shift, (H, W) float64.
    """
    scale, shift = fit_disparity(disparity, target, valid)
    return scale * disparity.astype(np.float64) + shift


def thinned(shape: tuple[int, int], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the pixels of a map that is scaled down by nearest neighbour.

    Args:
        shape: (H, W) of the map.
        side: Longest side to scale down to; smaller maps stay as they are.

    Returns:
        Indices of the rows (h, 1) and of the columns (w,), to index the map with.
    """
    scale = min(1.0, side / max(shape))
    rows, columns = (np.minimum(np.arange(int(n * scale)) / scale, n - 1).astype(int) for n in shape)
    return rows[:, None], columns


def depth_metrics(
    disparity: np.ndarray,
    depth: np.ndarray,
    valid: np.ndarray | None = None,
    depth_range: tuple[float, float] | None = None,
    fit_side: int | None = None,
) -> DepthMetrics:
    """Compare predicted disparity with true depth after alignment.

    Args:
        disparity: Predicted relative disparity (H, W), any scale and shift, near = large.
        depth: True depth (H, W), positive; infinite where there is sky.
        valid: Pixels that count (H, W) bool; by default those of finite depth.
        depth_range: Least and largest depth that a prediction is held within, as benchmarks hold it within a data
            set's; by default the true map's own.
        fit_side: Longest side in pixels of the scaled-down map that scale and shift are fitted to; by default its own.

    Returns:
        AbsRel and delta1.

    Raises:
        ValueError: If shapes differ, the prediction is not finite, or fewer than 2 pixels are valid.
    """
    if disparity.shape != depth.shape:
        raise ValueError(f"disparity is {disparity.shape}, depth {depth.shape}; they must agree")
    if not np.isfinite(disparity).all():
        raise ValueError("disparity holds values that are not finite")
    valid = np.isfinite(depth) if valid is None else valid & np.isfinite(depth)
    fit = ... if fit_side is None else thinned(depth.shape, fit_side)
    if valid[fit].sum() < 2:
        raise ValueError(f"only {int(valid[fit].sum())} pixels of the true depth are valid; 2 are needed")
    true = depth[valid].astype(np.float64)
    target = np.zeros(depth.shape)
    target[valid] = 1 / true
    scale, shift = fit_disparity(disparity[fit], target[fit], valid[fit])
    near, far = depth_range or (true.min(), true.max())
    aligned = scale * disparity[valid].astype(np.float64) + shift
    predicted = 1 / np.clip(aligned, 1 / far if depth_range is None else max(1 / far, LEAST_DISPARITY), 1 / near)
    ratio = np.maximum(predicted / true, true / predicted)
    return DepthMetrics(
        abs_rel=float(100 * np.mean(np.abs(predicted - true) / true)), delta1=float(100 * np.mean(ratio < 1.25))
    )
