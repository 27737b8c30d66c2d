"""How well flying points are cut and true surface kept, on worlds whose true occlusion boundaries are known.

What is true: each world is drawn at twice the judged map's resolution, one exact depth to a ray. A point of the lifted
map *flies* if, within `_REACH` rays of its pixel, true surfaces lie nearer and farther than it, and none within
`EDGE_THRESHOLD` of its depth: it hangs across an occlusion boundary. Everything else is true surface. A triangle is a
*sheet* if its middle flies. True surface is *thin* if what is seen `_THIN` pixels to both sides of it, along the row or
along the column, lies farther by more than a tenth: legs, poles.

What is judged: not the exact map, in which nothing is mixed, but what becomes of it on the way to a visitor: each pixel
the mean of its rays (anti-aliased), that in 8 bits, smeared over one and over two pixels, enlarged as results are to
the size of a photo, and through a model's autoencoder. All are lifted with the true far plane; sky is a wall behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.disparity import disparity_to_depth
from ..geometry.edges import mixed_pixels
from ..geometry.lift import EDGE_THRESHOLD, lift_mesh
from .geometry_worlds import World, quantise

_REACH = 6  # rays, so three pixels of most judged maps: as far as a smear of two pixels carries a mixture
_THIN = 3
_BEHIND = 0.9  # inverse depth of what is behind, against what is before it
_SMEARS = (1.0, 2.0)  # standard deviations of Gaussians in pixels

Decode = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class EdgeRow:
    """What the edge cut does to one kind of map, in percent over all worlds.

    Attributes:
        map: how it was made.
        flying: share of all points that fly.
        removed: share of the flying points that are cut.
        lost: share of the true surface that is cut.
        sheets_removed: share of the uncut mesh's sheets that the cut mesh lacks.
        triangles_lost: share of the uncut mesh's other triangles that the cut mesh lacks.
        thin_kept: share of the thin surface that stays.
        thin_points: how many thin points that is a share of.
    """

    map: str
    flying: float
    removed: float
    lost: float
    sheets_removed: float
    triangles_lost: float
    thin_kept: float
    thin_points: int


@dataclass
class _Counts:
    """What `EdgeRow` makes shares of, summed over worlds."""

    points: int = 0
    flying: int = 0
    cut: int = 0
    lost: int = 0
    thin: int = 0
    thin_kept: int = 0
    sheets: int = 0
    sheets_left: int = 0
    triangles: int = 0
    triangles_left: int = 0


def made_maps(exact: np.ndarray, decode: Decode | None) -> dict[str, np.ndarray]:
    """Make the judged maps from an exact one.

    Args:
        exact: float32 (2H, 2W) in [0, 1].
        decode: a model's autoencoder, there and back, float32 (H, W) in [0, 1]; None leaves that map out.

    Returns:
        float32 (H, W) by name; the enlarged one has the size of `exact`.
    """
    height, width = exact.shape
    mean = exact.reshape(height // 2, 2, width // 2, 2).mean((1, 3), dtype=np.float32)
    maps = {"anti-aliased": mean, "anti-aliased, 8 bits": quantise(mean, 8)}
    maps |= {f"smeared, {sigma:g} px": _smear(mean, sigma) for sigma in _SMEARS}
    larger = F.interpolate(torch.from_numpy(mean)[None, None], scale_factor=2, mode="bilinear")[0, 0]
    maps["enlarged twice"] = larger.numpy()
    if decode is not None:
        maps["through the autoencoder"] = decode(mean)
    return maps


def _smear(disparity: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    smeared = np.pad(disparity, reach, mode="edge")
    for axis in (0, 1):
        smeared = np.apply_along_axis(np.convolve, axis, smeared, kernel / kernel.sum(), "valid")
    return smeared.clip(0, 1).astype(np.float32)


def fly(inverse: np.ndarray, rows: np.ndarray, columns: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Tell which points hang between the true surfaces around them.

    Args:
        inverse: float32 (N,) inverse depth.
        rows: float (N,), how far down the picture they are, in [0, 1).
        columns: float (N,), how far to the right.
        truth: float32 (H, W), inverse depth of the true rays.

    Returns:
        bool (N,).
    """
    height, width = truth.shape
    rows, columns = (rows * height).astype(np.int64), (columns * width).astype(np.int64)
    low, high = (1 - EDGE_THRESHOLD) * inverse, (1 + EDGE_THRESHOLD) * inverse
    nearest, farthest = _spread(truth, np.maximum), _spread(truth, np.minimum)
    between = np.flatnonzero((nearest[rows, columns] > high) & (farthest[rows, columns] < low))
    rows, columns, low, high = rows[between], columns[between], low[between], high[between]
    on = np.zeros(len(between), bool)
    for down in range(-_REACH, _REACH + 1):
        row = (rows + down).clip(0, height - 1)
        for right in range(-_REACH, _REACH + 1):
            seen = truth[row, (columns + right).clip(0, width - 1)]
            on |= (seen >= low) & (seen <= high)
    flies = np.zeros(len(inverse), bool)
    flies[between[~on]] = True
    return flies


def _spread(truth: np.ndarray, function: np.ufunc) -> np.ndarray:
    """Reduce the inverse depths within `_REACH` rays of each ray: (H, W)."""
    for axis in (0, 1):
        padding = [(_REACH, _REACH) if axis == other else (0, 0) for other in (0, 1)]
        padded, count = np.pad(truth, padding, "edge"), truth.shape[axis]
        truth = function.reduce([padded.take(range(k, k + count), axis) for k in range(2 * _REACH + 1)])
    return truth


def is_thin(inverse: np.ndarray) -> np.ndarray:
    """Tell which pixels of inverse depth (H, W) show something thin before what is behind it: bool (H, W)."""
    thin = np.zeros(inverse.shape, bool)
    for axis in (0, 1):
        lines = np.moveaxis(inverse, axis, 1)
        inner = lines[:, _THIN:-_THIN]  # what is beside the border is not known
        sides = []
        for direction in (-1, 1):
            beside = [np.roll(lines, direction * step, axis=1)[:, _THIN:-_THIN] for step in range(1, _THIN + 1)]
            sides.append(np.min(beside, axis=0) < _BEHIND * inner)
        np.moveaxis(thin, axis, 1)[:, _THIN:-_THIN] |= sides[0] & sides[1]
    return thin


def measure_edges(
    worlds: Iterable[World], decode: Decode | None = None, threshold: float = EDGE_THRESHOLD
) -> list[EdgeRow]:
    """Run the edge cut over worlds.

    Args:
        worlds: drawn at twice the size of the judged maps.
        decode: see `made_maps`.
        threshold: relative jump of depth from which an edge is cut.

    Returns:
        One row for each kind of map.
    """
    counts: dict[str, _Counts] = {}
    for world in worlds:
        truth = world.near / world.depth  # in units of the near plane, as the lift has it
        for name, disparity in made_maps(world.disparity, decode).items():
            _count(counts.setdefault(name, _Counts()), disparity, world.far_over_near, truth, threshold)
    return [
        EdgeRow(
            name,
            _percent(n.flying, n.points),
            _percent(n.cut, n.flying),
            _percent(n.lost, n.points - n.flying),
            _percent(n.sheets - n.sheets_left, n.sheets),
            _percent(n.triangles - n.triangles_left, n.triangles),
            _percent(n.thin_kept, n.thin),
            n.thin,
        )
        for name, n in counts.items()
    ]


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _count(counts: _Counts, disparity: np.ndarray, ratio: float, truth: np.ndarray, threshold: float) -> None:
    """Add what the cut does to one map."""
    inverse = 1 / disparity_to_depth(disparity, ratio)
    rows, columns = (np.indices(inverse.shape) + 0.5) / np.array(inverse.shape)[:, None, None]
    flies = fly(inverse.ravel(), rows.ravel(), columns.ravel(), truth).reshape(inverse.shape)
    cut = mixed_pixels(inverse, threshold)
    thin = is_thin(inverse) & ~flies
    counts.points += inverse.size
    counts.flying += int(flies.sum())
    counts.cut += int((flies & cut).sum())
    counts.lost += int((cut & ~flies).sum())
    counts.thin += int(thin.sum())
    counts.thin_kept += int((thin & ~cut).sum())
    sheets, triangles = _triangles(disparity, ratio, truth, None)
    counts.sheets += sheets
    counts.triangles += triangles
    sheets, triangles = _triangles(disparity, ratio, truth, threshold)
    counts.sheets_left += sheets
    counts.triangles_left += triangles


def _triangles(disparity: np.ndarray, ratio: float, truth: np.ndarray, threshold: float | None) -> tuple[int, int]:
    """Count the sheets and the other triangles of a map's mesh."""
    image = np.zeros((*disparity.shape, 3), np.uint8)
    mesh = lift_mesh(image, disparity, far_over_near=ratio, edge_threshold=threshold)
    columns, rows = mesh.uv[mesh.faces].mean(1).T
    inverse = (1 / mesh.vertices[:, 2])[mesh.faces].mean(1)  # linear in the picture
    flies = fly(inverse, rows, columns, truth)
    return int(flies.sum()), int((~flies).sum())
