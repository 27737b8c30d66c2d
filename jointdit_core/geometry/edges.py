"""Where a depth map breaks: steps between neighbours, and the mixed pixels that fly between two surfaces.

Everything is judged on inverse depth, in which a plane is exactly linear along rows and columns, however slanted: two
links with the same step have the same normal. A step is an edge if it is large *and* the normal turns beside it.
"""

from __future__ import annotations

import numpy as np

EDGE_THRESHOLD = 0.04  # relative jump of depth between neighbours; flying pixels of a typical edge jump by 6 % and more
# A link that steps like this many links beside it lies on a slanted surface; a shorter ramp is a smeared step.
_SURFACE_LINKS = 5
# "Steps like": within this share of its own step, so that 8-bit rounding does not break a slanted plane.
_SAME_STEP = 0.5
# One 8-bit level of inverse depth and less is noise: far away, that is a jump of several percent already.
_NOISE = 1.05 / 255
# Models smear a step over about four pixels of their 256, so links get longer in larger (enlarged) pictures.
_PIXELS_PER_STRIDE = 128
# Halfway down a ramp it is at least this steep against its mean; the last pixel of a surface is flat on one side.
_STEEP = 0.4


def broken_links(inverse_depth: np.ndarray, axis: int, stride: int, threshold: float) -> np.ndarray:
    """Find the pairs of pixels along one axis that no continuous surface connects.

    A pair is broken if the farther pixel's depth exceeds the nearer's by more than `threshold` (relative), unless
    the pairs beside it make nearly the same step of inverse depth, as they do on a slanted plane.

    Args:
        inverse_depth: float32 (H, W), > 0.
        axis: 0 pairs rows, 1 pairs columns.
        stride: distance between the two pixels of a pair, >= 1.
        threshold: relative jump of depth, > 0.

    Returns:
        int8, shaped as the input but `stride` shorter along `axis`: at the pair (i, i + stride) the sign of the step
        of inverse depth if it is broken, else 0.
    """
    lines = np.moveaxis(inverse_depth, axis, 1)
    length = lines.shape[1] - stride
    if length <= 0:
        return np.moveaxis(np.zeros((lines.shape[0], 0), np.int8), 1, axis)
    step = lines[:, stride:] - lines[:, :length]
    farther = np.minimum(lines[:, stride:], lines[:, :length])
    jump = np.abs(step) > np.maximum(np.float32(threshold) * farther, np.float32(_NOISE))
    row, column = np.nonzero(jump)
    own = step[row, column]
    for direction in (-stride, stride):
        alive = np.arange(len(row))
        for k in range(1, _SURFACE_LINKS + 1):
            beside = column[alive] + k * direction
            inside = (beside >= 0) & (beside < length)
            alive, beside = alive[inside], beside[inside]
            other = step[row[alive], beside]
            alive = alive[np.abs(other - own[alive]) <= _SAME_STEP * np.abs(own[alive])]
        jump[row[alive], column[alive]] = False
    return np.moveaxis(np.where(jump, np.sign(step), 0).astype(np.int8), 1, axis)


def mixed_pixels(inverse_depth: np.ndarray, threshold: float) -> np.ndarray:
    """Find the pixels whose depth is a mixture of a near and a far surface ("flying pixels").

    Such a pixel lies between its two neighbours in depth and is connected to neither. The last pixel of a surface is
    connected to one side, and a thin leg is nearer than both, so both stay.

    Args:
        inverse_depth: float32 (H, W), > 0.
        threshold: relative jump of depth that breaks a link, > 0.

    Returns:
        bool (H, W), True where a pixel flies.
    """
    mixed = np.zeros(inverse_depth.shape, bool)
    stride = 1
    while stride == 1 or stride * _PIXELS_PER_STRIDE <= max(inverse_depth.shape):
        for axis in (0, 1):
            lines = np.moveaxis(inverse_depth, axis, 1)
            broken = np.moveaxis(broken_links(inverse_depth, axis, stride, threshold), axis, 1)
            before, after = broken[:, : -stride or None], broken[:, stride:]
            if after.shape[1] == 0:
                continue
            row, column = np.nonzero((before == after) & (before != 0))
            column += stride
            if stride > 1:
                steep = _steep(lines, row, column, stride)
                row, column = row[steep], column[steep]
            np.moveaxis(mixed, axis, 1)[row, column] = True
        stride *= 2
    return mixed


def _steep(lines: np.ndarray, row: np.ndarray, column: np.ndarray, stride: int) -> np.ndarray:
    """Tell which pixels (N,) lie on a slope that reaches `stride` to both sides, and not at its foot or top."""
    half = stride // 2
    ramp = lines[row, column + stride] - lines[row, column - stride]
    before = lines[row, column] - lines[row, column - half]
    after = lines[row, column + half] - lines[row, column]
    return np.minimum(before * np.sign(ramp), after * np.sign(ramp)) >= _STEEP * half / (2 * stride) * np.abs(ramp)
