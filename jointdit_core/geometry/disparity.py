"""Disparity maps: checked, turned into depth, coloured and encoded in 16 bits."""

from __future__ import annotations

import numpy as np

UINT16_MAX = 65535
MAX_PIXELS = 1 << 26  # 8192 x 8192: the lift then takes several gigabytes already
FAR_OVER_NEAR = 8.0  # relative disparity does not know its far plane; 8 keeps rooms and streets plausible

# Published anchor colours, interpolated linearly in between. Every map runs from far (first) to near (last).
_ANCHORS = {
    "gray": ("000000", "ffffff"),
    # ColorBrewer 2.0, 11-class diverging "Spectral" (C. Brewer), reversed so that near is red.
    "spectral": (
        *("5e4fa2", "3288bd", "66c2a5", "abdda4", "e6f598", "ffffbf"),
        *("fee08b", "fdae61", "f46d43", "d53e4f", "9e0142"),
    ),
    # Samples of "Turbo" (A. Mikhailov, Google AI blog, 2019).
    "turbo": (
        *("30123b", "4145ab", "4675ed", "39a2fc", "1bcfd4", "24eca6", "61fc6c", "a4fc3b"),
        *("d1e834", "f3c63a", "fe9b2d", "f36315", "d93806", "b11901", "7a0402"),
    ),
    # Samples of "Inferno" (S. van der Walt and N. Smith, 2015, CC0).
    "inferno": (
        *("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60"),
        *("cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"),
    ),
}
COLORMAPS = tuple(_ANCHORS)


def check_disparity(disparity: np.ndarray) -> np.ndarray:
    """Check a disparity map and return it as float32.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.

    Returns:
        The same map as float32 (H, W).

    Raises:
        ValueError: for another shape or dtype, for more than 2^26 pixels, for values that are not finite or lie outside
            [0, 1].
    """
    disparity = np.asarray(disparity)
    if disparity.ndim != 2 or 0 in disparity.shape:
        raise ValueError(f"disparity: got shape {disparity.shape}, allowed is (H, W) with H, W >= 1")
    if disparity.size > MAX_PIXELS:
        raise ValueError(f"disparity: got {disparity.size} pixels, allowed are at most {MAX_PIXELS}")
    if disparity.dtype.kind != "f":
        raise ValueError(f"disparity: got dtype {disparity.dtype}, allowed is float (see from_uint16 for integers)")
    low, high = float(disparity.min()), float(disparity.max())
    if not np.isfinite(low + high):
        raise ValueError("disparity: got NaN or infinite values, allowed are finite values in [0, 1]")
    if low < 0 or high > 1:
        raise ValueError(
            f"disparity: got values in [{low:.6g}, {high:.6g}], allowed is [0, 1] (see normalise_disparity)"
        )
    return disparity.astype(np.float32, copy=False)


def check_varies(disparity: np.ndarray) -> None:
    """Raise ValueError if a map holds one value everywhere, which says nothing of depth."""
    if float(np.ptp(disparity)) == 0:
        raise ValueError(
            f"disparity: got {disparity.flat[0]:.6g} everywhere, allowed is a map that tells near from far"
        )


def check_far_over_near(far_over_near: float) -> None:
    """Raise ValueError unless the ratio of far to near plane is finite and above 1."""
    if not (np.isfinite(far_over_near) and far_over_near > 1):
        raise ValueError(f"far_over_near: got {far_over_near}, allowed is a finite ratio > 1")


def normalise_disparity(values: np.ndarray, clip_percent: float = 0.0) -> np.ndarray:
    """Stretch a map to [0, 1].

    Args:
        values: finite array (H, W), larger = nearer, any range.
        clip_percent: share of the pixels, in percent in [0, 50), to saturate at either end; 0 is plain min-max.

    Returns:
        disparity: float32 (H, W) in [0, 1]; 0.5 everywhere if the map is constant (a wall).

    Raises:
        ValueError: for another shape, values that are not finite, or a percentage out of range.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
        raise ValueError(f"values: got shape {values.shape} and dtype {values.dtype}, allowed is a numeric (H, W) map")
    if not 0 <= clip_percent < 50:
        raise ValueError(f"clip_percent: got {clip_percent}, allowed is [0, 50)")
    if clip_percent > 0:
        low, high = (float(v) for v in np.percentile(values, (clip_percent, 100 - clip_percent)))
    else:
        low, high = float(values.min()), float(values.max())
    dtype = np.result_type(values.dtype, np.float32)
    with np.errstate(over="ignore"):
        span = dtype.type(high - low)
    if not np.isfinite(span):
        raise ValueError("values: got NaN or infinite values or range, allowed are finite values")
    if high == low:
        return np.full(values.shape, 0.5, np.float32)
    disparity = np.subtract(values, low, dtype=dtype)
    disparity /= span  # in place: an upload may be a large part of the memory
    return np.clip(disparity, 0, 1, out=disparity).astype(np.float32, copy=False)


def disparity_to_depth(disparity: np.ndarray, far_over_near: float = FAR_OVER_NEAR) -> np.ndarray:
    """Turn relative disparity into unit-free depth.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.
        far_over_near: depth of the far plane (disparity 0) over that of the near plane (disparity 1), > 1.

    Returns:
        depth: float32 (H, W) in [1, far_over_near].

    Raises:
        ValueError: see `check_disparity` and `check_far_over_near`.
    """
    disparity = check_disparity(disparity)
    check_far_over_near(far_over_near)
    far_inverse = 1.0 / far_over_near
    return (1.0 / (far_inverse + (1.0 - far_inverse) * disparity)).astype(np.float32, copy=False)


def colorize(
    disparity: np.ndarray, colormap: str = "spectral", invert: bool = False, clip_percent: float = 0.0
) -> np.ndarray:
    """Colour a disparity map for the eye.

    Args:
        disparity: float (H, W) in [0, 1], near = 1.
        colormap: one of `COLORMAPS`.
        invert: swap the ends of the colour map.
        clip_percent: share of the pixels at each end, in [0, 50), that get the end's colour; the others are spread
            over the whole map, unless they are all alike.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: for a bad map, an unknown colour map or a share out of range.
    """
    disparity = check_disparity(disparity)
    if not 0 <= clip_percent < 50:
        raise ValueError(f"clip_percent: got {clip_percent!r}, allowed is [0, 50)")
    if clip_percent:
        low, high = np.percentile(disparity, (clip_percent, 100 - clip_percent))
        disparity = ((disparity - low) / (high - low)).clip(0, 1) if high > low else disparity
    if colormap not in _ANCHORS:
        raise ValueError(f"colormap: got {colormap!r}, allowed is one of {', '.join(COLORMAPS)}")
    anchors = np.array([list(bytes.fromhex(color)) for color in _ANCHORS[colormap]], np.float64)
    position = np.linspace(0, len(anchors) - 1, 256)
    table = np.stack([np.interp(position, range(len(anchors)), channel) for channel in anchors.T], axis=-1)
    table = np.rint(table[::-1] if invert else table).astype(np.uint8)
    return table[np.rint(disparity * 255).astype(np.uint8)]


def to_uint16(disparity: np.ndarray) -> np.ndarray:
    """Encode disparity in 16 bits, 0 -> 0 and 1 -> 65535, rounded to the nearest level.

    Args:
        disparity: float (H, W) in [0, 1].

    Returns:
        uint16 (H, W).

    Raises:
        ValueError: see `check_disparity`.
    """
    return np.rint(check_disparity(disparity) * UINT16_MAX).astype(np.uint16)


def from_uint16(levels: np.ndarray) -> np.ndarray:
    """Decode `to_uint16`; encoding the result again gives the same levels.

    Args:
        levels: uint16 (H, W).

    Returns:
        disparity: float32 (H, W) in [0, 1].

    Raises:
        ValueError: for another shape or dtype.
    """
    levels = np.asarray(levels)
    if levels.dtype != np.uint16 or levels.ndim != 2:
        raise ValueError(f"levels: got {levels.dtype} of shape {levels.shape}, allowed is uint16 (H, W)")
    return (levels / np.float32(UINT16_MAX)).astype(np.float32, copy=False)
