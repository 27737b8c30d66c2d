"""How well the camera of a room is recovered from its disparity, and what ignoring it costs.

The error of a lift is judged on its points: both clouds are brought to one scale (least squares of the distances, each
relative to the true point's), and what remains is the mean distance to the true points, relative to theirs from the
camera. The fixed default is what the lift takes when nobody tells it anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..geometry.camera import FOV_DEG
from ..geometry.disparity import FAR_OVER_NEAR
from ..geometry.lift import lift
from ..geometry.recover import estimate_camera
from .geometry_worlds import World, quantise


@dataclass(frozen=True)
class CameraRow:
    """The recovered camera on one kind of map, over all rooms.

    Attributes:
        map: how it was made.
        rooms: how many.
        recovered: percent of the rooms with at least two planes to recover a camera from.
        fov_error_deg: median of the recovered field of view's error.
        default_fov_error_deg: the same of the fixed default.
        better: percent of the rooms on which the recovered camera's point error is smaller than the default's.
        point_error: median point error with the recovered camera, percent.
        point_error_fov_known: the same where the field of view is known (EXIF) and only the far plane recovered.
        default_point_error: the same with the fixed default.
    """

    map: str
    rooms: int
    recovered: float
    fov_error_deg: float
    default_fov_error_deg: float
    better: float
    point_error: float
    point_error_fov_known: float
    default_point_error: float


def point_error(points: np.ndarray, true: np.ndarray) -> float:
    """Compare two clouds whose points belong together, up to one common scale.

    Args:
        points: float (N, 3), the camera at the origin.
        true: float (N, 3).

    Returns:
        Mean relative distance, >= 0.
    """
    weight = 1 / np.square(true).sum(-1)
    scale = (weight * (points * true).sum(-1)).sum() / (weight * np.square(points).sum(-1)).sum()
    return float(np.mean(np.linalg.norm(scale * points - true, axis=-1) * np.sqrt(weight)))


def measure_camera(worlds: Iterable[World], maps: dict[str, Callable[[World], np.ndarray]]) -> list[CameraRow]:
    """Recover the cameras of rooms.

    Args:
        worlds: rooms.
        maps: by name, what gives the disparity that is judged, float32 (S, S) in [0, 1].

    Returns:
        One row for each kind of map.
    """
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in maps}
    for world in worlds:
        true_fov = world.scene.camera.fov_deg
        true = _points(world, world.disparity, true_fov, world.far_over_near)
        for name, make in maps.items():
            disparity = make(world)
            camera, known = estimate_camera(disparity), estimate_camera(disparity, true_fov)
            cameras = (camera, known, None)
            settings = [(c.fov_deg, c.far_over_near) if c else (FOV_DEG, FAR_OVER_NEAR) for c in cameras]
            errors = [point_error(_points(world, disparity, *one), true) for one in settings]
            found[name].append((camera.planes, abs(camera.fov_deg - true_fov), abs(FOV_DEG - true_fov), *errors))
    return [_row(name, np.array(values)) for name, values in found.items()]


def standard_maps() -> dict[str, Callable[[World], np.ndarray]]:
    """The maps of every evaluation: exact, and in 8 bits."""
    return {"exact": lambda world: world.disparity, "8 bits": lambda world: quantise(world.disparity, 8)}


def _points(world: World, disparity: np.ndarray, fov_deg: float, far_over_near: float) -> np.ndarray:
    return lift(world.image, disparity, fov_deg, far_over_near, edge_threshold=None).points.astype(np.float64)


def _row(name: str, values: np.ndarray) -> CameraRow:
    planes, fov_error, default_fov_error, recovered, known, default = values.T
    return CameraRow(
        name,
        len(values),
        100 * float(np.mean(planes >= 2)),
        float(np.median(fov_error)),
        float(np.median(default_fov_error)),
        100 * float(np.mean(recovered < default)),
        100 * float(np.median(recovered)),
        100 * float(np.median(known)),
        100 * float(np.median(default)),
    )
