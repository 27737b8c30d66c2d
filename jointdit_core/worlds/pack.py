"""Scene descriptions to padded tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .scene import SLOTS, STYLES, TEXTURES, Camera, Material, Primitive, Scene

TOTAL = sum(SLOTS.values())
FIRST = {"box": 0, "cylinder": SLOTS["box"], "ellipsoid": SLOTS["box"] + SLOTS["cylinder"]}
_NOWHERE = (1e3, 0.0, 0.0, 0.0, 0.0, 1e3, 0.0, 0.0, 0.0, 0.0, 1e3, 1e7)  # a millimetre solid 10 km underground


class SceneBatch(NamedTuple):
    """B packed scenes; solids in the order boxes, cylinders, ellipsoids, padded to `SLOTS`.

    camera (B, 4, 3): position, right and up scaled to the picture's edge, forward; boxes / cylinders / ellipsoids
    (B, K, 3, 4): world to unit solid, and affine all of them; taper (B, K) of the cylinders; shape (B, P): 2 box,
    3 ellipsoid, else taper; half (B, P, 3) metres; material (B, P + 6, 10): linear colour, accent, period, shine, glow,
    texture; owner (B, P + 6) int64; low / high (B, 3) of the box around; light and sky as in `scene`; style and block
    (B,) int64.
    """

    camera: torch.Tensor
    boxes: torch.Tensor
    cylinders: torch.Tensor
    ellipsoids: torch.Tensor
    affine: torch.Tensor
    taper: torch.Tensor
    shape: torch.Tensor
    half: torch.Tensor
    material: torch.Tensor
    owner: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    light_direction: torch.Tensor
    key: torch.Tensor
    ambient: torch.Tensor
    bounce: torch.Tensor
    horizon: torch.Tensor
    zenith: torch.Tensor
    fog: torch.Tensor
    disc: torch.Tensor
    disc_color: torch.Tensor
    disc_size: torch.Tensor
    clouds: torch.Tensor
    stars: torch.Tensor
    style: torch.Tensor
    block: torch.Tensor

    def to(self, device: torch.device | str) -> SceneBatch:
        """The same batch on another device."""
        return SceneBatch(*(t.to(device, non_blocking=True) for t in self))


def _affine(p: Primitive) -> tuple[float, ...]:
    """Twelve numbers, three rows of world-to-unit-solid."""
    cy, sy, ct, st = math.cos(p.yaw), math.sin(p.yaw), math.cos(p.tilt), math.sin(p.tilt)
    # columns of the solid's axes in the world: yaw about z after tilt about x
    axes = ((cy, sy, 0.0), (-sy * ct, cy * ct, st), (sy * st, -cy * st, ct))
    rows = []
    for axis, size in zip(axes, p.half, strict=True):
        x, y, z = axis[0] / size, axis[1] / size, axis[2] / size
        rows.append((x, y, z, -(x * p.center[0] + y * p.center[1] + z * p.center[2])))
    if p.kind == "gable":  # the ridge runs along the solid's x axis
        _, along, high = rows
        rows[1] = tuple((a + h) for a, h in zip(along, high, strict=True))
        rows[2] = tuple((h - a) for a, h in zip(along, high, strict=True))
    return rows[0] + rows[1] + rows[2]


def _linear(color: tuple[float, float, float]) -> tuple[float, float, float]:
    return (color[0] * color[0], color[1] * color[1], color[2] * color[2])


def _material(m: Material) -> tuple[float, ...]:
    """Ten numbers in the order `SceneBatch.material` names."""
    tail = (m.period, m.shine, m.glow, float(TEXTURES.index(m.texture)))
    return _linear(m.color) + _linear(m.accent) + tail


def camera_frame(camera: Camera) -> tuple[tuple[float, float, float], ...]:
    """Position, right, up and forward; right and up as long as half the picture is wide at depth 1."""
    forward = [t - p for t, p in zip(camera.target, camera.position, strict=True)]
    length = math.sqrt(sum(f * f for f in forward))
    fx, fy, fz = (f / length for f in forward)
    flat = math.hypot(fx, fy)
    rx, ry = fy / flat, -fx / flat
    reach = math.tan(math.radians(camera.fov_deg) / 2)
    up = (ry * fz * reach, -rx * fz * reach, (rx * fy - ry * fx) * reach)
    return camera.position, (rx * reach, ry * reach, 0.0), up, (fx, fy, fz)


def _pack_one(
    scene: Scene, affine: np.ndarray, half: np.ndarray, shape: np.ndarray, material: np.ndarray, owner
) -> None:
    """Writes one scene's solids into its rows of the batch arrays."""
    free = dict(FIRST)
    for p in scene.primitives:
        family = "box" if p.kind == "gable" else p.kind
        i = free[family]
        free[family] = i + 1
        affine[i] = _affine(p)
        half[i] = p.half
        material[i] = _material(p.material)
        owner[i] = p.owner
        if family == "cylinder":
            shape[i] = p.taper
    for j, face in enumerate(scene.surroundings.faces):
        material[TOTAL + j] = _material(face)


def batch(scenes: Sequence[Scene]) -> SceneBatch:
    """Packs scenes for `render`.

    Args:
        scenes: B descriptions.

    Returns:
        A `SceneBatch` of float32 and int64 tensors on the CPU.
    """
    b = len(scenes)
    affine = np.empty((b, TOTAL, 12), np.float32)
    affine[:] = _NOWHERE
    half = np.ones((b, TOTAL, 3), np.float32)
    shape = np.full((b, TOTAL), 3.0, np.float32)
    shape[:, : SLOTS["box"]] = 2.0
    shape[:, FIRST["cylinder"] : FIRST["ellipsoid"]] = 1.0
    material = np.ones((b, TOTAL + 6, 10), np.float32)
    owner = np.full((b, TOTAL + 6), -1, np.int64)
    for i, scene in enumerate(scenes):
        _pack_one(scene, affine[i], half[i], shape[i], material[i], owner[i])

    def table(values: list) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32)

    solids = torch.from_numpy(affine).reshape(b, TOTAL, 3, 4)
    shapes = torch.from_numpy(shape)
    first, second = FIRST["cylinder"], FIRST["ellipsoid"]
    around = [s.surroundings for s in scenes]
    lights = [s.light for s in scenes]
    return SceneBatch(
        camera=table([camera_frame(s.camera) for s in scenes]),
        boxes=solids[:, :first].contiguous(),
        cylinders=solids[:, first:second].contiguous(),
        ellipsoids=solids[:, second:].contiguous(),
        affine=solids,
        taper=shapes[:, first:second].contiguous(),
        shape=shapes,
        half=torch.from_numpy(half),
        material=torch.from_numpy(material),
        owner=torch.from_numpy(owner),
        low=table([a.low for a in around]),
        high=table([a.high for a in around]),
        light_direction=table([x.direction for x in lights]),
        key=table([x.color for x in lights]),
        ambient=table([x.ambient for x in lights]),
        bounce=table([x.bounce for x in lights]),
        horizon=table([a.horizon for a in around]),
        zenith=table([a.zenith for a in around]),
        fog=table([a.fog for a in around]),
        disc=table([a.disc for a in around]),
        disc_color=table([a.disc_color for a in around]),
        disc_size=table([a.disc_size for a in around]),
        clouds=table([a.clouds for a in around]),
        stars=table([a.stars for a in around]),
        style=torch.tensor([STYLES.index(s.style) for s in scenes]),
        block=torch.tensor([s.block for s in scenes]),
    )
