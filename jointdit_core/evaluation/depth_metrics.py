"""Affine-invariant depth metrics, as in the paper's tables.

Letters: H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DepthMetrics:
    """Errors of one map, both in percent.

    Attributes:
        abs_rel: Mean of |d - d*| / d*; lower is better.
        delta1: Share of pixels with max(d / d*, d* / d) < 1.25; higher is better.
    """

    abs_rel: float
    delta1: float


def align_disparity(disparity: np.ndarray, target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fit one scale and one shift by least squares.

    Args:
        disparity: Predicted relative disparity (H, W).
        target: True disparity (H, W), 1 / depth.
        valid: Pixels to fit to (H, W) bool.

    Returns:
        scale * disparity + shift, (H, W) float64.
    """
    x, y = disparity[valid].astype(np.float64), target[valid].astype(np.float64)
    system = np.stack([x, np.ones_like(x)], axis=1)
    scale, shift = np.linalg.lstsq(system, y, rcond=None)[0]
    return scale * disparity.astype(np.float64) + shift


def depth_metrics(disparity: np.ndarray, depth: np.ndarray, valid: np.ndarray | None = None) -> DepthMetrics:
    """Compare predicted disparity with true depth after alignment.

    Args:
        disparity: Predicted relative disparity (H, W), any scale and shift, near = large.
        depth: True depth (H, W), positive; infinite where there is sky.
        valid: Pixels that count (H, W) bool; by default those of finite depth.

    Returns:
        AbsRel and delta1. Aligned depth is held within the true map's own range before comparing, as benchmarks
        hold it within a data set's.

    Raises:
        ValueError: If shapes differ, the prediction is not finite, or fewer than 2 pixels are valid.
    """
    if disparity.shape != depth.shape:
        raise ValueError(f"disparity is {disparity.shape}, depth {depth.shape}; they must agree")
    if not np.isfinite(disparity).all():
        raise ValueError("disparity holds values that are not finite")
    valid = np.isfinite(depth) if valid is None else valid & np.isfinite(depth)
    if valid.sum() < 2:
        raise ValueError(f"only {int(valid.sum())} pixels of the true depth are valid; 2 are needed")
    true = depth[valid].astype(np.float64)
    target = np.zeros(depth.shape)
    target[valid] = 1 / true
    aligned = align_disparity(disparity, target, valid)[valid]
    predicted = 1 / np.clip(aligned, 1 / true.max(), 1 / true.min())
    ratio = np.maximum(predicted / true, true / predicted)
    return DepthMetrics(
        abs_rel=float(100 * np.mean(np.abs(predicted - true) / true)), delta1=float(100 * np.mean(ratio < 1.25))
    )
