"""Stair-steps of 8-bit maps, smoothed without leaving what the steps allow."""

from __future__ import annotations

import numpy as np

from .disparity import check_disparity

_MOST_LEVELS = 256  # a map with more has finer levels than anyone would see
_COARSEST = 1 / 32  # a map whose nearest values lie farther apart was not rounded: it shows flat things
_REACHES = (32, 16, 8, 4, 2, 1)  # pixels; the widest steps first
_WITHIN = 0.499  # levels that a value may move, so that it still rounds to the one it came from
_ROUNDING = 2.0  # levels that rounding alone may bend a straight line by: half a level at either end, one in the middle


def smooth_steps(disparity: np.ndarray) -> np.ndarray:
    """Smooth the stair-steps that rounding to few levels left in a disparity map.

    Every pixel moves towards the mean of two pixels on opposite sides, at distances from 32 pixels down to one, where
    the three lie on a straight line but for rounding; and never by more than the half level that rounding may have
    taken, so that rounding the result to the same levels gives the same map.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.

    Returns:
        float32 (H, W) in [0, 1]; a map of more than 256 different values, or none closer than 1/32, comes back as it
        is.

    Raises:
        ValueError: see `check_disparity`.
    """
    disparity = check_disparity(disparity)
    levels = np.unique(disparity)
    level = np.diff(levels).min(initial=1)
    if len(levels) > _MOST_LEVELS or level > _COARSEST:
        return disparity
    low, high = np.maximum(disparity - _WITHIN * level, 0), np.minimum(disparity + _WITHIN * level, 1)
    smooth = disparity.copy()
    for reach in _REACHES:
        for axis in (0, 1):
            given, moving = (np.moveaxis(part, axis, 1) for part in (disparity, smooth))
            before, at, after = (slice(0, -2 * reach), slice(reach, -reach), slice(2 * reach, None))
            if given.shape[1] <= 2 * reach:
                continue
            bend = given[:, before] + given[:, after] - 2 * given[:, at]
            mean = (moving[:, before] + moving[:, after]) / 2
            straight = np.abs(bend) <= np.float32(1.01 * _ROUNDING) * level
            moving[:, at] = np.where(straight, (moving[:, at] + mean) / 2, moving[:, at])
            np.clip(smooth, low, high, out=smooth)
    return smooth
