"""Whether planes, boxes and spheres keep their shape through the lift, by the precision of the disparity.

Each room is lifted with its true camera and far plane, so what is measured is what the disparity's rounding (or the
model's guess) does. Floor and walls are planes of known direction, their corners right angles, balls spheres of known
radius. A model's disparity knows neither scale nor shift: both are fitted to the true one first, as for depth metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..geometry.lift import lift
from ..worlds.pack import camera_frame
from .depth_metrics import align_disparity
from .geometry_worlds import World

_LEAST = 400  # pixels of a piece that is judged
_TOUCH_M = 1e-3  # a point this near to the plane of a wall lies on it


@dataclass(frozen=True)
class ShapeRow:
    """Median errors over all floors, walls, corners and balls seen.

    Attributes:
        map: what the disparity went through.
        planes: how many planes were judged.
        normal_deg: angle between a fitted plane's normal and the true one.
        distance: of a fitted plane from the camera, relative error, percent.
        corners: how many pairs of planes were judged.
        corner_deg: how far the angle between two such planes is from 90 degrees.
        balls: how many spheres were judged.
        radius: relative error of a fitted sphere's radius, percent.
        point: mean relative distance of a room's points from their true place, percent; the median room's.
    """

    map: str
    planes: int
    normal_deg: float
    distance: float
    corners: int
    corner_deg: float
    balls: int
    radius: float
    point: float


def fit_plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a plane by least squares of the distances.

    Args:
        points: float (N, 3), N >= 3.

    Returns:
        Its unit normal (3,) away from the origin, and its distance from the origin.
    """
    middle = points.mean(0)
    normal = np.linalg.svd((points - middle).T @ (points - middle))[2][2]
    distance = float(normal @ middle)
    return (normal, distance) if distance >= 0 else (-normal, -distance)


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a sphere: |p|^2 = 2 c p + (r^2 - |c|^2) is linear in c and the bracket.

    Args:
        points: float (N, 3), N >= 4.

    Returns:
        Its centre (3,) and radius.
    """
    middle = points.mean(0)
    local = points - middle
    system = np.column_stack([2 * local, np.ones(len(local))])
    *centre, rest = np.linalg.lstsq(system, np.square(local).sum(-1), rcond=None)[0]
    return middle + centre, float(np.sqrt(max(0.0, rest + np.square(centre).sum())))


def measure_shapes(worlds: Iterable[World], maps: dict[str, Callable[[World], np.ndarray]]) -> list[ShapeRow]:
    """Lift rooms and fit the shapes in them.

    Args:
        worlds: rooms.
        maps: by name, what gives the disparity that is judged, float32 (S, S), any scale and shift.

    Returns:
        One row for each kind of map.
    """
    found: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in ("normal", "distance", "corner", "radius", "point")} for name in maps
    }
    for world in worlds:
        true = _points(world, world.disparity)
        planes, balls = dict(_planes(world)), list(_balls(world))
        for name, make in maps.items():
            points, errors = _points(world, make(world)), found[name]
            fits = {wall: fit_plane(points[seen]) for wall, (seen, _) in planes.items()}
            for wall, (seen, normal) in planes.items():
                fitted, distance = fits[wall]
                errors["normal"].append(_degrees(abs(fitted @ normal)))
                errors["distance"].append(abs(distance / abs(float((true[seen] @ normal).mean())) - 1))
            walls = sorted(fits)
            for i, one in enumerate(walls):
                for other in walls[i + 1 :]:
                    if one[0] != other[0]:  # walls across the same axis are parallel
                        errors["corner"].append(90 - _degrees(abs(fits[one][0] @ fits[other][0])))
            for seen, radius in balls:
                errors["radius"].append(abs(fit_sphere(points[seen])[1] / radius - 1))
            errors["point"].append(
                float(np.mean(np.linalg.norm(points - true, axis=-1) / np.linalg.norm(true, axis=-1)))
            )
    return [_row(name, errors) for name, errors in found.items()]


def aligned(disparity: np.ndarray, world: World) -> np.ndarray:
    """Fit a model's disparity to the true one: float32 (S, S) in [0, 1]."""
    fitted = align_disparity(disparity, world.disparity, np.ones(disparity.shape, bool))
    return fitted.clip(0, 1).astype(np.float32)


def _points(world: World, disparity: np.ndarray) -> np.ndarray:
    """Lift with the true camera, in metres: float64 (S, S, 3)."""
    cloud = lift(world.image, disparity, world.scene.camera.fov_deg, world.far_over_near, edge_threshold=None)
    return cloud.points.reshape(*disparity.shape, 3).astype(np.float64) * world.near


def _planes(world: World) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """The walls and the floor in sight, as an axis with its side: the pixels (S, S) and the normal in camera axes."""
    position, right, up, forward = (np.array(part) for part in camera_frame(world.scene.camera))
    axes = np.stack([right / np.linalg.norm(right), -up / np.linalg.norm(up), forward])  # rows: camera x, y, z
    points = _points(world, world.disparity) @ axes + position
    around = world.scene.surroundings
    for axis, name in enumerate("xyz"):
        for side, bound in (("-", around.low[axis]), ("+", around.high[axis])):
            seen = (world.ids < 0) & (np.abs(points[..., axis] - bound) < _TOUCH_M)
            if seen.sum() >= _LEAST:
                yield name + side, (seen, axes[:, axis])


def _balls(world: World) -> Iterator[tuple[np.ndarray, float]]:
    """The balls in sight: the pixels (S, S) and the radius in metres."""
    for owner, label in enumerate(world.scene.objects):
        solids = [solid for solid in world.scene.primitives if solid.owner == owner]
        seen = world.ids == owner
        if label.name == "ball" and len(solids) == 1 and solids[0].kind == "ellipsoid" and seen.sum() >= _LEAST:
            if np.ptp(solids[0].half) < 1e-9:
                yield seen, solids[0].half[0]


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _row(name: str, errors: dict[str, list[float]]) -> ShapeRow:
    normal, distance, corner, radius, point = (
        float(np.median(errors[kind])) if errors[kind] else float("nan")
        for kind in ("normal", "distance", "corner", "radius", "point")
    )
    return ShapeRow(
        name, len(errors["normal"]), normal, 100 * distance, len(errors["corner"]), corner,
        len(errors["radius"]), 100 * radius, 100 * point,
    )  # fmt: skip
