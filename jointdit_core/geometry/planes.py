"""Planes in a disparity map: since a plane's inverse depth is linear in the picture, each is one affine function.

Picture coordinates here run from the middle, x right and y down, and the longer side spans [-1, 1]: they are rays times
the focal length in half longer sides, whatever the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_GRID = 96  # samples along the longer side that planes are sought in; more changes little
_WINDOW = 2  # half width of the local fits, in samples
_HYPOTHESES = 240  # local planes tried for each plane found
_MAX_PLANES = 14
_MIN_SHARE = 0.008  # of the picture; smaller pieces say little about the camera
_TOLERANCE = 0.004  # disparity a sample may lie off its plane: one level of 8 bits
_SLOPE_TOLERANCE = (0.06, 0.25)  # and its local slope off the plane's: absolute, and a share of it
_READING_ERROR = 0.5 / 255  # of a disparity that a fit rests on
_INDEPENDENT = 16  # samples whose errors count as independent, however many there are


@dataclass(frozen=True)
class Planes:
    """The affine pieces of a disparity map, P of them, largest first.

    Attributes:
        coefficients: float64 (P, 3), disparity = a x + b y + c.
        sigma: float64 (P, 3), standard error of each coefficient.
        share: float64 (P,), part of the picture that lies on the plane.
    """

    coefficients: np.ndarray
    sigma: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class _Samples:
    """N pixels of a regular grid: position, disparity, its local slopes and the largest miss of that local fit."""

    x: np.ndarray
    y: np.ndarray
    d: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    rough: np.ndarray

    def __getitem__(self, index: np.ndarray) -> _Samples:
        return _Samples(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def find_planes(disparity: np.ndarray) -> Planes:
    """Find the large planes of a picture, one after the other, each by consensus over local fits.

    Args:
        disparity: float32 (H, W) in [0, 1].

    Returns:
        Planes; none where the picture has no flat piece.
    """
    samples = _sample(disparity)
    least = max(9, _MIN_SHARE * len(samples.d))
    free = np.flatnonzero(samples.rough < 2 * _TOLERANCE)
    rng = np.random.default_rng(0)  # which fits are tried: the same picture always gives the same answer
    found = []
    while len(found) < _MAX_PLANES and len(free) >= least:
        member = _consensus(samples[free], rng)
        if np.count_nonzero(member) < least:
            break
        found.append((*_fit(samples[free[member]]), np.count_nonzero(member) / len(samples.d)))
        free = free[~member]
    if not found:
        return Planes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    coefficients, sigma, share = (np.array(part) for part in zip(*found, strict=True))
    order = np.argsort(-share)
    return Planes(coefficients[order], sigma[order], share[order])


def _sample(disparity: np.ndarray) -> _Samples:
    """Read a regular grid of pixels and fit a plane to the window around each; windows leave out the border."""
    height, width = disparity.shape
    step = max(1, max(height, width) // _GRID)
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    size = 2 * _WINDOW + 1
    if min(len(rows), len(columns)) < size:
        return _Samples(*np.zeros((6, 0)))
    half = max(height, width) / 2
    x, y = np.meshgrid((columns + 0.5 - width / 2) / half, (rows + 0.5 - height / 2) / half)
    d = disparity[np.ix_(rows, columns)].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(d, (size, size))  # (h, w, size, size)
    offsets = np.arange(-_WINDOW, _WINDOW + 1.0)
    unit = size * np.square(offsets).sum()
    along_x, along_y = (np.einsum(f"hwij,{k}->hw", windows, offsets) / unit for k in "ji")
    flat = windows.mean((2, 3))[..., None, None] + along_x[..., None, None] * offsets
    flat = flat + along_y[..., None, None] * offsets[:, None]
    rough = np.abs(windows - flat).max((2, 3))
    inner = slice(_WINDOW, -_WINDOW)
    spacing = step / half
    parts = (x[inner, inner], y[inner, inner], d[inner, inner], along_x / spacing, along_y / spacing, rough)
    return _Samples(*(part.ravel() for part in parts))


def _consensus(samples: _Samples, rng: np.random.Generator) -> np.ndarray:
    """Grow the local fit that the most samples agree with: bool (N,), the members of its plane."""
    tried = samples[rng.choice(len(samples.d), min(_HYPOTHESES, len(samples.d)), replace=False)]
    a, b = tried.slope_x, tried.slope_y
    offered = np.stack([a, b, tried.d - a * tried.x - b * tried.y], axis=-1, dtype=np.float32)  # (T, 3)
    basis = np.stack([samples.x, samples.y, np.ones_like(samples.x)], dtype=np.float32)  # (3, N)
    agree = np.abs(offered @ basis - samples.d.astype(np.float32)) < _TOLERANCE
    plane = offered[np.argmax(np.count_nonzero(agree, axis=1))].astype(np.float64)
    member = np.zeros(len(samples.d), bool)
    for _ in range(3):  # a local fit reaches only so far; each refit reaches farther
        a, b, c = plane
        allowed = _SLOPE_TOLERANCE[0] + _SLOPE_TOLERANCE[1] * np.hypot(a, b)
        member = np.abs(a * samples.x + b * samples.y + c - samples.d) < _TOLERANCE
        member &= np.hypot(samples.slope_x - a, samples.slope_y - b) < allowed
        if np.count_nonzero(member) < 9:
            return np.zeros_like(member)
        plane, _ = _fit(samples[member])
    return member


def _fit(samples: _Samples) -> tuple[np.ndarray, np.ndarray]:
    """Fit disparity = a x + b y + c: the coefficients and their standard errors, each float64 (3,)."""
    basis = np.stack([samples.x, samples.y, np.ones_like(samples.x)], axis=-1)
    inverse = np.linalg.pinv(basis.T @ basis)
    variance = np.diag(inverse) * len(samples.x) / _INDEPENDENT
    return inverse @ (basis.T @ samples.d), _READING_ERROR * np.sqrt(variance)
